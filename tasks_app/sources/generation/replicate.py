"""Replicate predictions.

An offer names what makes it, beside what every offer has: `model` ("owner/name"), `version` (its 64 digits, or
"owner/name:version") or `deployment` ("owner/name"), and `input`: values that always go along. Results live for an
hour. Events are signed (Standard Webhooks); they only say that it is time to look.
"""

import base64
import hmac
import json
import re
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    Capabilities,
    Download,
    GenerationConnection,
    GenerationObservation,
    ListPage,
    Offer,
    Order,
    Parameter,
    Probe,
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, taken
from tasks_app.sources.generation.offers import declared_offers
from tasks_app.sources.generation.reading import as_data_url, id_of, members_of, text_of
from tasks_app.sources.generation.replicate_predictions import observation_of
from tasks_app.sources.generation.stragglers import wait_for_stragglers
from tasks_app.states import FINAL_STATES, State

MAX_UPLOAD_BYTES = 16 * 1024 * 1024
"""Pictures of one order, which go inside the JSON and grow by a third there."""
CLOCK_SECONDS = 300
"""How old or young an event may be."""
EVENTS = ["start", "completed"]
"""Not every line of a log: each event costs a read."""
SETTLE_SECONDS = 30.0
WINDOW = timedelta(minutes=10)
"""Around the order, in which an equal prediction is taken for it."""
LIST_PAGES = 5
_MODEL = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_VERSION = re.compile(r"(?:[\w.-]{1,100}/[\w.-]{1,100}:)?[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Recipe:
    """An offer and how it is ordered: `path` below the API, and what the body has besides the person's input."""

    offer: Offer
    path: str
    body: Mapping[str, Any]
    input: Mapping[str, Any]


class Replicate:
    """One account at Replicate, or a server that speaks the same."""

    capabilities = Capabilities(
        cancel_queued=True, cancel_running=True, lists=True, logs=True, webhook=True, asset_auth=True
    )

    def __init__(self, connection: GenerationConnection) -> None:
        declared = declared_offers(connection.settings)
        recipes = [_recipe(offer, entry) for offer, entry in declared] if declared else list(WELL_KNOWN)
        self._recipes = {recipe.offer.key: recipe for recipe in recipes}
        self._connection = connection
        headers = {"Authorization": f"Bearer {connection.key}"} if connection.key else {}
        self._caller = JsonCaller(connection, headers=headers)
        # people paste the address with and without the version of the API
        self._api = "" if urlsplit(connection.url).path.rstrip("/").endswith("/v1") else "/v1"

    def __repr__(self) -> str:
        return f"Replicate({self._connection.name})"

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(recipe.offer for recipe in self._recipes.values())

    @property
    def latency_seconds(self) -> float | None:
        return self._caller.latency_seconds

    def close(self) -> None:
        self._caller.close()

    def check(self) -> Probe:
        data = members_of(self._caller.ask("GET", f"{self._api}/account").data)
        name = text_of(data.get("username"), 100)
        if not name:
            raise SourceUnavailable("The answer is no account of Replicate.", kind="garbage")
        return Probe(f"Replicate, account {name}")

    # submitting

    def submit(self, order: Order) -> Accepted:
        recipe = self._recipe_for(order)
        body = {**recipe.body, "input": _input(recipe, order, self._pictures(order))}
        if order.webhook_url:
            body |= {"webhook": order.webhook_url, "webhook_events_filter": EVENTS}
        reply = self._caller.order(self._api + recipe.path, json=body)
        if (seen := observation_of(reply.data, self._caller.origin)) is None:
            raise OutcomeUnknown("The order was taken, but the answer names no prediction.", kind="garbage")
        return Accepted(seen, self.handle_of(seen.remote_id))

    def _pictures(self, order: Order) -> dict[str, str]:
        if sum(len(upload.content) for upload in order.uploads.values()) > MAX_UPLOAD_BYTES:
            raise SourceRefused(
                f"The pictures have more than {MAX_UPLOAD_BYTES // 1024 // 1024} MB together.",
                kind="invalid_request",
                fields=dict.fromkeys(order.uploads, "Too large for this provider."),
            )
        return {parameter: as_data_url(upload) for parameter, upload in order.uploads.items()}

    def _recipe_for(self, order: Order) -> Recipe:
        if (recipe := self._recipes.get(order.offer)) is None:
            raise SourceRefused("The source no longer offers this.", kind="invalid_request")
        return recipe

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        """The one prediction of that time with exactly this input. Two of them prove nothing."""
        recipe = self._recipe_for(order)
        asked_at = order.asked_at or datetime.now(UTC)
        sent, pictures = _input(recipe, order, {}), _picture_names(recipe)
        found: list[GenerationObservation] = []
        for row, seen in self._rows_since(asked_at - WINDOW):
            is_near = seen.created_at is None or abs(seen.created_at - asked_at) <= WINDOW
            if seen.remote_id in known or not is_near or not _is_made_by(row, recipe):
                continue
            given = row.get("input")
            if not isinstance(given, dict) or row.get("data_removed") is True:
                raise OutcomeUnknown("The provider has removed the input of a prediction.", kind="removed")
            if {name: value for name, value in given.items() if name not in pictures} == sent:
                found.append(seen)
        if len(found) > 1:
            raise OutcomeUnknown("Several predictions have the same input.", kind="ambiguous")
        if not found:
            wait_for_stragglers(order, SETTLE_SECONDS)
            return None
        return found[0]

    def _rows_since(self, earliest: datetime) -> list[tuple[dict[str, Any], GenerationObservation]]:
        """Raises OutcomeUnknown when the list does not reach back so far in a few pages."""
        rows, cursor = [], ""
        for _ in range(LIST_PAGES):
            page, cursor = self._page(cursor)
            rows += page
            times = [seen.created_at for _, seen in page if seen.created_at]
            if not cursor or (times and min(times) < earliest):
                return rows
        raise OutcomeUnknown("The list does not reach back to the order.", kind="short_list")

    # following

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        data = self._caller.ask("GET", f"{self._api}/predictions/{_id_in(handle)}").data
        if (seen := observation_of(data, self._caller.origin)) is None:
            raise SourceUnavailable("The answer is no prediction.", kind="garbage")
        return seen

    def list_recent(self, cursor: str = "") -> ListPage:
        """Newest first, 100 a page, without logs."""
        rows, following = self._page(cursor)
        return ListPage(
            tuple(seen for _, seen in rows), cursor=following, is_whole=not cursor and not following
        )

    def _page(self, cursor: str) -> tuple[list[tuple[dict[str, Any], GenerationObservation]], str]:
        params = {"cursor": cursor} if cursor else None
        data = members_of(self._caller.ask("GET", f"{self._api}/predictions", params=params).data)
        if not isinstance(data.get("results"), list):
            raise SourceUnavailable("The answer is no list of predictions.", kind="garbage")
        rows = []
        for row in data["results"][:1000]:
            if seen := observation_of(row, self._caller.origin, is_partial=True):
                rows.append((row, seen))
        return rows, _cursor_in(data.get("next"))

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        return {"id": remote_id}

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        return open_download(
            url,
            own_url=self._connection.url,
            trust=self._connection.trust,
            key_headers=self._caller.key_headers if needs_auth else None,
        )

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        reply = self._caller.call("POST", f"{self._api}/predictions/{_id_in(handle)}/cancel")
        if reply.status == 404:
            return CancelAnswer.NOT_FOUND
        if reply.status in (400, 409, 422):  # "already finished", in words that changed over the years
            return self._after_refused_cancel(handle)
        seen = observation_of(taken(reply).data, self._caller.origin)
        if seen and seen.state in FINAL_STATES and seen.state is not State.CANCELLED:
            return CancelAnswer.ALREADY_FINISHED
        return CancelAnswer.REQUESTED

    def _after_refused_cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        state = self.fetch(handle).state
        return CancelAnswer.ALREADY_FINISHED if state in FINAL_STATES else CancelAnswer.UNSUPPORTED

    # events

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        """A signed event. Its prediction is a hint alone: events come late, twice and in any order."""
        if not self._connection.webhook_secret:
            raise WebhookRefused("The source has no secret to check signatures with.")
        event_id = headers.get("webhook-id", "")
        verify(self._connection.webhook_secret, headers, body, now=now)
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            raise WebhookRefused("The event is not JSON.") from None
        if (seen := observation_of(data, self._caller.origin)) is None:
            raise WebhookRefused("The event names no prediction.")
        return WebhookEvent(event_id, seen.remote_id, seen)


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
    """Check a Standard Webhooks signature and its clock. Raises WebhookRefused."""
    event_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not event_id or not stamp or not given or len(event_id) > 200 or len(given) > 4000:
        raise WebhookRefused("The event is not signed.")
    if not re.fullmatch(r"\d{1,11}", stamp, re.ASCII):
        raise WebhookRefused("The event's time is no time.")
    signed_at = datetime.fromtimestamp(int(stamp), UTC)
    if abs((now - signed_at).total_seconds()) > CLOCK_SECONDS:
        raise WebhookRefused("The event is too old, or a clock is wrong.")
    try:
        expected = Webhook(secret).sign(event_id, signed_at, body.decode())
    except (ValueError, EmptyWebhookSecretError):
        raise WebhookRefused("The event or the secret cannot be read.") from None
    wanted = _digest(expected)
    if not any(
        hmac.compare_digest(wanted, _digest(one)) for one in given.split(" ") if one.startswith("v1,")
    ):
        raise WebhookRefused("The signature is wrong.")


def _digest(signature: str) -> bytes:
    """The bytes of "v1,<base64>"; some other bytes for what is none, so that it never compares equal."""
    try:
        return base64.b64decode(signature[3:].encode(), validate=True)
    except ValueError:
        return b""


def _input(recipe: Recipe, order: Order, pictures: Mapping[str, str]) -> dict[str, Any]:
    given = {name: value for name, value in order.parameters.items() if value is not None}
    return {**recipe.input, **given, **pictures}


def _picture_names(recipe: Recipe) -> set[str]:
    return {parameter.name for parameter in recipe.offer.parameters if parameter.type == "image"}


def _is_made_by(row: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether the row names the same model and version, as far as both tell."""
    version = str(recipe.body.get("version", "")).rpartition(":")[2]
    if version:
        return row.get("version") in (version, None, "", "hidden")
    model = recipe.path.removeprefix("/models/").removesuffix("/predictions")
    return not recipe.path.startswith("/models/") or row.get("model") in (model, None, "")


def _cursor_in(url: Any) -> str:
    """The cursor of the next page; its address is not followed, whatever host it names."""
    if not isinstance(url, str) or len(url) > 4000:
        return ""
    try:
        return parse_qs(urlsplit(url).query).get("cursor", [""])[0]
    except ValueError:
        return ""


def _id_in(handle: Mapping[str, Any]) -> str:
    if not (remote_id := id_of(handle.get("id"))):
        raise SourceRefused("The task has no id that the source could know.", kind="not_found")
    return remote_id


def _recipe(offer: Offer, entry: Mapping[str, Any]) -> Recipe:
    where = f'Offer "{offer.key}"'
    named = {name: entry[name] for name in ("model", "version", "deployment") if entry.get(name)}
    if len(named) != 1:
        raise ValueError(f'{where} names one of "model", "version" and "deployment".')
    [(what, value)] = named.items()
    pattern = _VERSION if what == "version" else _MODEL
    if not isinstance(value, str) or not pattern.fullmatch(value) or ".." in value:
        raise ValueError(
            f'{where}: "{what}" has the form {"owner/name:64 digits" if what == "version" else "owner/name"}.'
        )
    fixed = entry.get("input") or {}
    if not isinstance(fixed, dict):
        raise ValueError(f'{where}: "input" is an object.')
    if what == "version":
        return Recipe(offer, "/predictions", {"version": value}, fixed)
    return Recipe(offer, f"/{what}s/{value}/predictions", {}, fixed)


_PROMPT = Parameter("prompt", "Prompt", "long_text", required=True, max_length=4000)
WELL_KNOWN = (
    Recipe(
        Offer(
            "flux-schnell",
            "image",
            "Flux Schnell",
            (
                _PROMPT,
                Parameter(
                    "aspect_ratio",
                    "Shape",
                    "choice",
                    default="1:1",
                    choices=(("1:1", "Square"), ("16:9", "Wide"), ("9:16", "Tall")),
                ),
            ),
        ),
        "/models/black-forest-labs/flux-schnell/predictions",
        {},
        {"output_format": "png"},
    ),
    Recipe(
        Offer(
            "video-01",
            "video",
            "MiniMax Video-01",
            (_PROMPT, Parameter("first_frame_image", "First picture", "image")),
        ),
        "/models/minimax/video-01/predictions",
        {},
        {},
    ),
)
