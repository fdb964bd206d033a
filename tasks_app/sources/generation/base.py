"""The contract of generation adapters: what goes in, what comes out, and what each call may raise.

`fetch` never raises for a task that failed: it raises only when the question could not be asked or answered.
Errors are those of `sources.errors`: SourceUnavailable (ask again; `retry_after` seconds when told), OutcomeUnknown
(a submit that lost its answer), SourceRefused (`kind`: a word of `problems.Kind` such as invalid_request, no_credit,
not_found, already_finished), SourceNeedsPerson (credentials, certificate).
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from tasks_app.sources.tls import Trust
from tasks_app.states import State

OfferKind = Literal["video", "image", "workflow"]
ParameterType = Literal["text", "long_text", "integer", "number", "choice", "boolean", "image", "json"]


@dataclass(frozen=True, slots=True)
class GenerationConnection:
    """How to reach one generation source. `key` is the API key, "" for a server without.

    `url` is the base address, with a path where the API lives under one. `settings` is the source's own JSON:
    `profile`, `offers`, and what the adapter documents (paths, field names, status words, models).
    """

    name: str
    url: str
    trust: Trust
    key: str = field(repr=False, default="")
    webhook_secret: str = field(repr=False, default="")
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a dialect can do. `forgets`: no memory after a restart. `asset_auth`: downloads need the key.

    `cancel_deletes`: the cancel call destroys the result of a finished task, so it is sent only after a read that says
    the task runs. `floor_seconds`: never asked more often about one task.
    """

    cancel_queued: bool = False
    cancel_running: bool = False
    cancel_deletes: bool = False
    lists: bool = False
    progress: bool = False
    queue_position: bool = False
    logs: bool = False
    webhook: bool = False
    own_id: bool = False
    idempotency_key: bool = False
    asset_auth: bool = False
    forgets: bool = False
    floor_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared input. `choices` are (value, label) pairs. `image` takes an upload. Bounds are inclusive."""

    name: str
    label: str
    type: ParameterType = "text"
    required: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    choices: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """`amount` of `currency` for one task, or for one of parameter `per` (for example "duration")."""

    amount: float
    currency: str = "USD"
    per: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing a source can make. `key` is unique in its source; `prompt` names the parameter with the prompt."""

    key: str
    kind: OfferKind
    label: str
    parameters: tuple[Parameter, ...]
    prompt: str = "prompt"
    price: Price | None = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture a person gave, in memory (limited where it is accepted)."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What to make. `parameters` are validated against the offer; `uploads` by parameter name.

    `own_id` is a UUID of ours, `idempotency_key` constant over repeats; `webhook_url` is "" when there is none.
    `asked_at` is when it was last sent (Generation.called_at), for `find`; a person's wish may be far older.
    """

    offer: str
    parameters: Mapping[str, Any]
    own_id: str
    idempotency_key: str
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    webhook_url: str = ""
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a task failed. `kind` is a `problems.Kind`; `text` is the remote's own message without a traceback.

    `detail` is everything the remote said (traceback included), for staff only.
    """

    kind: str
    text: str
    code: str = ""
    retryable: bool | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RemoteAsset:
    """One result file. Either `url` (absolute) or `data` (decoded from a data URL) is set.

    `media_type` and `size` are the remote's claims, "" and None when it makes none. `ref` is what `open_asset` of a
    later process needs. `needs_auth`: only the source's own origin with the key gives it.
    """

    name: str
    url: str = ""
    ref: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = ""
    size: int | None = None
    expires_at: datetime | None = None
    needs_auth: bool = False
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GenerationObservation:
    """One task as the remote showed it. `state` None: a word we do not know, in `word`; keep the previous state.

    `progress` is 0 to 100, None when the remote gives none. `log_lines` is the whole log so far, None when not told.
    `is_partial`: a row of a list, without result and error. Times are aware UTC. `cost` is the remote's own words.
    """

    remote_id: str
    state: State | None
    word: str = ""
    progress: float | None = None
    queue_position: int | None = None
    message: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    problem: Problem | None = None
    assets: tuple[RemoteAsset, ...] = ()
    log_lines: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""
    ask_again_seconds: float | None = None
    is_partial: bool = False
    input: Mapping[str, Any] | None = None
    kind: OfferKind | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The remote took the order. `handle` is small JSON that the later calls need besides the id."""

    observation: GenerationObservation
    handle: Mapping[str, Any]

    @property
    def remote_id(self) -> str:
        return self.observation.remote_id


class CancelAnswer(StrEnum):
    """What came of a cancel. It is a wish: the task may still complete."""

    REQUESTED = "requested"
    ALREADY_FINISHED = "already_finished"
    NOT_FOUND = "not_found"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class ListPage:
    """Rows of a list call, any order. `is_whole`: a task that is missing here is unknown to the remote."""

    observations: tuple[GenerationObservation, ...]
    cursor: str = ""
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified event. It only says "look now"; `observation` is never written from an unsigned one."""

    event_id: str
    remote_id: str
    observation: GenerationObservation | None = None


class WebhookRefused(Exception):
    """The event's signature, time or shape is wrong; the text says which, without secrets."""


@dataclass(frozen=True, slots=True)
class Download:
    """An open answer with the bytes of an asset. `size` is the declared length, None when not told."""

    chunks: Iterator[bytes]
    size: int | None = None
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a look at a source found out: `text` for people, e.g. "ComfyUI 0.3.64"."""

    text: str
    version: str = ""


class GenerationSource(Protocol):
    """One remote in one dialect, safe for many threads. `handle` is what `submit` returned, with `id` in it."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Declared, without asking the remote."""
        ...

    @property
    def latency_seconds(self) -> float | None: ...

    def check(self) -> Probe:
        """One harmless request that shows that address and key are right."""
        ...

    def submit(self, order: Order) -> Accepted: ...

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        """The task that an earlier `submit` of `order` with a lost answer made; None: proven that there is none.

        `known` are remote ids that certainly belong to something else: answered orders of the portal, and foreign
        tasks it had seen before the first call. A foreign task that appeared after the call must not be among them:
        it may be this very one.

        Raises OutcomeUnknown when the dialect can prove neither, SourceUnavailable (kind "too_early", `retry_after`)
        when an order may still be on its way.
        """
        ...

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation: ...

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer: ...

    def list_recent(self, cursor: str = "") -> ListPage: ...

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        """A handle for a task that somebody else submitted, where an id is enough."""
        ...

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]: ...

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        """Verify and read one webhook call. Header names are lower case. Raises WebhookRefused."""
        ...

    def close(self) -> None: ...
