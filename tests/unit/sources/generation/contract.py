"""The contract suite's side of an adapter: a kit is a remote of that dialect, in memory.

How to plug an adapter in: write `tests/unit/sources/generation/kit_<name>.py` with a subclass of `Kit` for each profile
and `KITS = [MyKit, ...]`. `test_contract.py` finds the file, starts a loopback server around a fresh kit for every
test, opens the adapter with `open_source(kit.kind, kit.connection(url))`, and changes `kit.tasks` to make the remote
do things. A kit answers requests as the real server does (take shapes from `tests/data/recorded/generation`):

    class SeedKit(Kit):
        name, kind = "seed", "task_api"
        def is_submit(self, seen): return seen.method == "POST"
        def is_cancel(self, seen): return seen.method == "DELETE"
        def answer(self, seen): ...     # a Say, or None for 404

- A submit makes `self.add()` and answers with its id. What arrived is in the server's log.
- A read shows `self.tasks[id]`: its state in the dialect's words (`task.word` instead, when set), `progress`,
  `message` (why it failed), and when completed one result at `task.asset_path` of this server. An id that is not in
  `tasks` is unknown, as the dialect says it.
- A cancel does what the real server does: an open task becomes CANCELLED; where the call deletes a finished task, the
  kit deletes it. `obeys_cancel=False` on a kit: the remote takes the wish, and the task goes on.
- `self.origin` is the server's own address. Files at `asset_path` are served by the suite.

What a dialect cannot show is left out: `states`, `has_words`, `has_progress`.
"""

from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tasks_app.sources.generation.base import GenerationConnection, Order, Upload
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.replay import Say, Seen

KEY = "key-1234567890abcdef-SECRET"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
OWN_ID = "0b9f1f0e-5d1c-4a57-9a53-3c1f4ad0c001"
FIVE = frozenset({State.PENDING, State.PROCESSING, State.COMPLETED, State.FAILED, State.CANCELLED})


@dataclass
class FakeTask:
    """One task at the remote. `word` is a status word instead of the state's."""

    id: str
    state: State = State.PENDING
    progress: int = 0
    message: str = ""
    word: str = ""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def asset_path(self) -> str:
        return f"/files/{self.id}.mp4"

    @property
    def changed_at(self) -> datetime:
        return self.created_at + timedelta(seconds=1)


class Kit(ABC):
    """One dialect. A fresh one for each test; `self.tasks` is the remote's memory, in the order of submits."""

    name: ClassVar[str]
    kind: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    offer: ClassVar[str] = "video"
    parameters: ClassVar[Mapping[str, Any]] = {"prompt": "a red kite"}
    uploads: ClassVar[Mapping[str, Upload]] = {}
    states: ClassVar[frozenset[State]] = FIVE
    has_words: ClassVar[bool] = True
    has_progress: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "task_"
    obeys_cancel: bool = True

    def __init__(self) -> None:
        self.tasks: dict[str, FakeTask] = {}
        self.origin = ""

    def connection(self, url: str) -> GenerationConnection:
        return GenerationConnection(
            name="test",
            url=url,
            trust=Trust(),
            key=KEY,
            webhook_secret=WEBHOOK_SECRET,
            settings=dict(self.settings),
        )

    def order(self) -> Order:
        return Order(
            offer=self.offer,
            parameters=dict(self.parameters),
            own_id=OWN_ID,
            idempotency_key=OWN_ID,
            uploads=dict(self.uploads),
            asked_at=datetime.now(UTC),
        )

    def add(self, task_id: str = "", **fields: Any) -> FakeTask:
        """A new task; the remote's own choice of id unless the caller's is given."""
        task = FakeTask(task_id or f"{self.id_prefix}{len(self.tasks) + 1:04d}", **fields)
        self.tasks[task.id] = task
        return task

    @abstractmethod
    def answer(self, seen: Seen) -> Say | None:
        """What the server says to one request; None where it has no such route."""

    @abstractmethod
    def is_submit(self, seen: Seen) -> bool:
        """Whether this request creates a task."""

    @abstractmethod
    def is_cancel(self, seen: Seen) -> bool:
        """Whether this request cancels or deletes a task."""
