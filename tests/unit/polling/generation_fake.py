"""A scripted generation source in memory, with a clock that tests move. `calls` counts requests by kind."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.sources.errors import SourceError, SourceRefused
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    Capabilities,
    Download,
    GenerationObservation,
    ListPage,
    Offer,
    Order,
    Probe,
    RemoteAsset,
    WebhookEvent,
)
from tasks_app.states import State

START = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
VIDEO = RemoteAsset("fox.mp4", url="https://cdn.test/fox.mp4")


@dataclass
class FakeSource:
    """`tasks` are what a single answer tells. `failing` is raised by every call, `failing_for` by those about an id."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(lists=True, forgets=True))
    now: datetime = START
    tasks: dict[str, GenerationObservation] = field(default_factory=dict)
    failing: Exception | None = None
    failing_for: dict[str, Exception] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    only_listed: set[str] = field(default_factory=set)  # a single question does not find them
    page_rows: int = 10_000
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    offers: tuple[Offer, ...] = ()
    latency_seconds: float | None = 0.01
    seconds_a_call: float = 0.0

    # what tests do to it

    def put(self, remote_id: str, state: State | None = State.PROCESSING, **fields: Any) -> None:
        if state is State.COMPLETED:
            fields.setdefault("assets", (VIDEO,))
        self.tasks[remote_id] = GenerationObservation(remote_id, state, **fields)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return (self.now - START).total_seconds()

    # what the poller asks

    def check(self) -> Probe:
        self._count("check")
        return Probe("Fake 1.0")

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        remote_id = str(handle["id"])
        self.asked.append(remote_id)
        self._count("fetch")
        if remote_id in self.failing_for:
            raise self.failing_for[remote_id]
        if remote_id not in self.tasks or remote_id in self.only_listed:
            raise SourceRefused("Task not found.", kind="not_found", status=404)
        return self.tasks[remote_id]

    def list_recent(self, cursor: str = "") -> ListPage:
        self._count("list")
        first = int(cursor or 0)
        ids = [remote_id for remote_id in self.tasks if remote_id not in self.unlisted]
        page = ids[first : first + self.page_rows]
        rows = tuple(replace(self.tasks[i], is_partial=True, assets=(), problem=None) for i in page)
        end = first + self.page_rows
        return ListPage(rows, str(end) if end < len(ids) else "", is_whole=True)

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        return {"id": remote_id}

    def _count(self, kind: str) -> None:
        self.calls[kind] += 1
        self.pass_time(self.seconds_a_call)
        if self.failing is not None:
            raise self.failing

    # what only jobs ask

    def submit(self, order: Order) -> Accepted:
        raise NotImplementedError

    def find(self, order: Order, known: Any = ()) -> GenerationObservation | None:
        raise NotImplementedError

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        raise NotImplementedError

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        raise NotImplementedError

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise NotImplementedError

    def close(self) -> None:
        pass


def bad(kind: str = "server_error", **fields: Any) -> SourceError:
    from tasks_app.sources.errors import SourceUnavailable

    return SourceUnavailable("The source answered 503.", kind=kind, status=503, **fields)
