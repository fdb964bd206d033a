"""The task API: POST to submit, GET and DELETE `/api/v1/tasks/{id}`, GET `/api/v1/tasks`.

Support what its documentation says, survive what its own server does instead: the list stands behind a 307, a
cancelled task is a 410 (only the list shows the word), a refused cancel is "500 … cannot be cancelled" for finished and
unknown tasks alike, times have no zone and mean UTC, a video's progress stays at 0 until it is 100, errors carry the
server's stack, and a restart forgets every task.

Servers that are like it are reached by settings (see `task_api_settings`). Alibaba Model Studio, for example, which
has the same path, other words, an envelope, a header for asynchronous calls, and a cancel by POST of queued tasks (its
times name no zone and are not UTC, so they are left alone):

    {"offers": [{"key": "wan", "kind": "video", "label": "Wan", "parameters": [
                    {"name": "prompt", "type": "long_text", "required": true},
                    {"name": "image", "type": "image"},
                    {"name": "size", "choices": ["1280*720", "720*1280"], "default": "1280*720"}],
                 "path": "/api/v1/services/aigc/video-generation/video-synthesis",
                 "body": {"model": "wan2.2-i2v-plus", "input": {"prompt": "{prompt}", "img_url": "{image}"},
                          "parameters": {"size": "{size}"}}}],
     "image": "data_url", "headers": {"X-DashScope-Async": "enable"},
     "paths": {"cancel": "/api/v1/tasks/{id}/cancel", "list": "/api/v1/tasks/", "health": ""}, "cancel_method": "POST",
     "fields": {"id": "output.task_id", "status": "output.task_status", "error": "output", "result": "usage",
                "assets": ["output.video_url", "output.results.*.url"]},
     "rows": {"at": "data", "id": "task_id", "status": "status"},
     "words": {"SUSPENDED": "pending", "RUNNING": "processing", "SUCCEEDED": "completed"},
     "gone_words": ["UNKNOWN"], "list_is_whole": false,
     "can": {"cancel_running": false, "forgets": false}}
"""

import re
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

import requests.utils

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceError, SourceRefused, SourceUnavailable
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
    Probe,
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, Reply, refusal, taken
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.generation.reading import id_of, text_of
from tasks_app.sources.generation.stragglers import wait_for_stragglers
from tasks_app.sources.generation.task_api_answers import Reader
from tasks_app.sources.generation.task_api_orders import body_of, deals_of
from tasks_app.sources.generation.task_api_settings import read_dialect
from tasks_app.sources.generation.values import first, look
from tasks_app.sources.http import is_same_origin
from tasks_app.states import FINAL_STATES, State

MAX_ROWS = 20_000
STRAGGLER_SECONDS = 60.0
"""An order whose answer was lost may arrive so much later: our connect and write limits together, and some more."""
QUARTER = timedelta(minutes=15)
FARTHEST_ZONE = timedelta(hours=15)
CLOCK_SLACK = timedelta(seconds=3)
"""The Date header, from which the server's clock is known, has whole seconds."""

_CANNOT_CANCEL = re.compile(r"cannot be cancell?ed|can ?not cancel|not running or already", re.IGNORECASE)
_WAS_CANCELLED = re.compile(r"was cancell?ed", re.IGNORECASE)
_EXPIRED = re.compile(r"expired|deleted|removed|no longer|retention", re.IGNORECASE)
_INPUT_AT_FAULT = re.compile(r"Failed to submit task: (?:4\d\d: |Invalid base64|Incorrect padding)")
"""The server's own answer to a picture it cannot read, sent as 500 before any task is made."""


class TaskApi:
    """One server that speaks the task API. Safe for many threads."""

    def __init__(self, connection: GenerationConnection) -> None:
        """Raises ValueError when the settings make no sense."""
        self._dialect = dialect = read_dialect(connection.settings)
        self._deals = deals_of(connection.settings, dialect)
        self._connection = connection
        key = {dialect.auth_header: f"{dialect.auth_prefix}{connection.key}"} if connection.key else {}
        self._caller = JsonCaller(connection, headers={**dialect.headers, **key})
        self._key_headers = key
        self._reader = Reader(dialect, connection.url, has_key=bool(connection.key))
        can = {"cancel_queued": True, "cancel_running": True, "forgets": True, **dialect.can}
        if not dialect.paths["cancel"]:
            can |= {"cancel_queued": False, "cancel_running": False}
        self.capabilities = Capabilities(
            **can, lists=bool(dialect.paths["list"]), progress=True, asset_auth=bool(connection.key)
        )

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(deal.offer for deal in self._deals.values())

    @property
    def latency_seconds(self) -> float | None:
        return self._caller.latency_seconds

    def close(self) -> None:
        self._caller.close()

    def check(self) -> Probe:
        """The list shows that address and key are right; the health answer, where there is one, names the server."""
        count = len(self.list_recent().observations) if self.capabilities.lists else None
        name, version = "Task API", ""
        if path := self._dialect.paths["health"]:
            try:
                data = self._caller.ask("GET", path).data
            except SourceError:
                if count is None:
                    raise
            else:
                name, version = text_of(look(data, "service"), 80) or name, text_of(look(data, "version"), 40)
        known = "" if count is None else f", {count} task{'' if count == 1 else 's'} known"
        return Probe(f"{name} {version}".strip() + known, version)

    def submit(self, order: Order) -> Accepted:
        deal = self._deals.get(order.offer)
        if deal is None:
            raise SourceRefused(f'The source offers no "{order.offer[:100]}".', kind=Kind.INVALID_REQUEST)
        body = body_of(deal, order, self._dialect.encoding)
        reply = self._caller.call("POST", deal.path, json=body)
        if reply.status == 500 and _INPUT_AT_FAULT.search(reply.words):
            raise SourceRefused(reply.words, kind=Kind.INVALID_REQUEST, status=reply.status)
        data = taken(reply).data
        remote_id = self._reader.id_in(data)
        if not remote_id:
            raise OutcomeUnknown("The order was taken, but the answer names no task.", kind="garbage")
        kind = deal.offer.kind
        seen = self._reader.observe(data, remote_id, kind=kind, without_word=State.PENDING)
        return Accepted(seen, {"id": remote_id, "kind": kind})

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        """Among the listed tasks that were created after the order was sent and whose id fits its kind.

        Rows carry no input: several candidates prove nothing, nor does one that is whole quarters of an hour older
        than the order, as on a server whose times are of its own zone and do not say so. None at all proves that there
        is none only when the list is whole, the order cannot be on its way any more, and the server remembers something
        from before the order: an empty list may be the list of a server that was restarted.
        """
        deal = self._deals.get(order.offer)
        if order.asked_at is None or deal is None or not self.capabilities.lists:
            raise OutcomeUnknown("Nothing tells which task the order became.", kind="no_proof")
        reply = self._ask_list("")
        page = self._page(reply, "")
        skew = timedelta(seconds=max(-86400.0, min(86400.0, reply.clock_skew_seconds)))
        since = order.asked_at + skew - CLOCK_SLACK
        unknown = [
            row
            for row in page.observations
            if row.remote_id not in known and (row.kind is None or row.kind == deal.offer.kind)
        ]
        candidates = [row for row in unknown if row.created_at is None or row.created_at >= since]
        if len(candidates) == 1:
            return candidates[0]
        if candidates or any(_is_zones_away(row, since) for row in unknown):
            raise OutcomeUnknown(
                "It cannot be told which task at the source is this order.", kind="ambiguous"
            )
        wait_for_stragglers(order, STRAGGLER_SECONDS)
        is_older = any(row.created_at and row.created_at < since for row in page.observations)
        if page.is_whole and (is_older or not self.capabilities.forgets):
            return None
        raise OutcomeUnknown("The source's list does not show whether it took the order.", kind="no_proof")

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        remote_id = id_of(handle.get("id"))
        if not remote_id:
            raise SourceRefused("The task has no id at the source.", kind="not_found")
        reply = self._caller.call("GET", self._path("task", remote_id))
        if self._is_cancelled(reply):
            kind = self._dialect.kind_of(remote_id)
            return GenerationObservation(remote_id, State.CANCELLED, "cancelled", kind=kind)
        if reply.status in (404, 410) and reply.body.lstrip()[:1] == b"<":
            raise SourceUnavailable(
                "A page answers where the task API should be.", kind="garbage", status=reply.status
            )
        if not reply.is_success:
            raise refusal(reply)
        data = reply.data
        word = self._reader.word_in(data)
        if not word or self._reader.id_in(data) not in ("", remote_id):
            raise SourceUnavailable("The answer does not show the task.", kind="garbage", status=reply.status)
        if self._reader.is_gone(word):
            raise SourceRefused("The source does not know the task any more.", kind="not_found")
        return self._reader.observe(data, remote_id)

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        """Reads first: elsewhere than at the task API's own server, the call may destroy a finished task's result."""
        if not self.capabilities.cancel_queued:
            return CancelAnswer.UNSUPPORTED
        try:
            seen = self.fetch(handle)
        except SourceRefused as error:
            if error.kind == "not_found":
                return CancelAnswer.NOT_FOUND
            raise
        if seen.state in FINAL_STATES:
            return CancelAnswer.ALREADY_FINISHED
        if seen.state is not State.PENDING and not self.capabilities.cancel_running:
            return CancelAnswer.UNSUPPORTED
        if seen.state is None and self.capabilities.cancel_deletes:
            return CancelAnswer.UNSUPPORTED
        reply = self._caller.call(self._dialect.cancel_method, self._path("cancel", seen.remote_id))
        if reply.is_success and look(reply.data, "success") is not False:
            return CancelAnswer.REQUESTED
        return self._why_not_cancelled(reply, handle)

    def _why_not_cancelled(self, reply: Reply, handle: Mapping[str, Any]) -> CancelAnswer:
        if reply.status in (405, 501):
            return CancelAnswer.UNSUPPORTED
        is_refused = reply.is_success or reply.status in (404, 409, 410) or _CANNOT_CANCEL.search(reply.words)
        if not is_refused:
            raise refusal(reply)
        try:
            seen = self.fetch(handle)
        except SourceRefused as error:
            if error.kind == "not_found":
                return CancelAnswer.NOT_FOUND
            raise
        return CancelAnswer.ALREADY_FINISHED if seen.state in FINAL_STATES else CancelAnswer.UNSUPPORTED

    def list_recent(self, cursor: str = "") -> ListPage:
        if not self.capabilities.lists:
            return ListPage(())
        return self._page(self._ask_list(cursor), cursor)

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        if not id_of(remote_id):
            raise SourceRefused("This is no id of a task.", kind="not_found")
        return {"id": remote_id, "kind": self._dialect.kind_of(remote_id)}

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        return open_download(
            url,
            own_url=self._connection.url,
            trust=self._connection.trust,
            key_headers=self._key_headers if needs_auth else None,
        )

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise WebhookRefused("The task API sends no events.")

    def _path(self, name: str, remote_id: str) -> str:
        return self._dialect.paths[name].replace("{id}", quote(remote_id, safe=""))

    @staticmethod
    def _is_cancelled(reply: Reply) -> bool:
        if reply.status == 410:
            return reply.is_json and not _EXPIRED.search(reply.words)
        return reply.status in (404, 409, 500) and bool(_WAS_CANCELLED.search(reply.words))

    def _ask_list(self, cursor: str) -> Reply:
        path, _, query = (cursor or self._dialect.paths["list"]).partition("?")
        if not path.startswith("/") or path.startswith("//"):
            raise SourceRefused("This is no place in the list.", kind=Kind.INVALID_REQUEST)
        return self._caller.ask("GET", path, params=dict(parse_qsl(query)))

    def _page(self, reply: Reply, cursor: str) -> ListPage:
        rows = look(reply.data, self._dialect.rows_at) if self._dialect.rows_at else reply.data
        if not isinstance(rows, list):
            raise SourceUnavailable("The answer is not a list of tasks.", kind="garbage", status=reply.status)
        seen = [row for row in map(self._row, rows[:MAX_ROWS]) if row is not None]
        following = self._next(reply)
        is_whole = not cursor and not following and len(seen) == len(rows) and self._dialect.list_is_whole
        return ListPage(tuple(seen), following, is_whole)

    def _row(self, row: Any) -> GenerationObservation | None:
        remote_id = self._reader.id_in(row, is_row=True)
        if not remote_id or not self._reader.word_in(row, is_row=True):
            return None
        return self._reader.observe(row, remote_id, is_row=True)

    def _next(self, reply: Reply) -> str:
        """Path and query of the next page, as a Link header names it; only on this very server."""
        links: list[dict[str, str]] = []
        with suppress(ValueError):
            links = requests.utils.parse_header_links(reply.headers.get("link", "")[:4000])
        target = first({link.get("rel", ""): link.get("url") for link in links}, "next")
        base = self._connection.url.rstrip("/")
        if not isinstance(target, str):
            return ""
        url = urljoin(base + self._dialect.paths["list"], target)
        root = urlsplit(base).path
        if not is_same_origin(url, base) or not urlsplit(url).path.startswith(root + "/"):
            return ""
        parts = urlsplit(url)
        return parts.path.removeprefix(root) + (f"?{parts.query}" if parts.query else "")


def _is_zones_away(row: GenerationObservation, since: datetime) -> bool:
    """Whether it would be new if its time, written without a zone, were that of another zone than UTC."""
    if row.created_at is None or not since - FARTHEST_ZONE < row.created_at < since:
        return False
    return (row.created_at - since) % QUARTER < timedelta(seconds=STRAGGLER_SECONDS) + CLOCK_SLACK
