"""Reading the table of events in order, without losing one that was committed late."""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from tasks_app.models import TaskEvent

# PostgreSQL hands out ids before commit, so a lower id can appear after a higher one. Writers of events hold their
# transactions for well under this time. SQLite has one writer at a time, so ids appear in order.
LATE_SECONDS = 2.0
BATCH = 2000  # rows in one read; the rest follows with the next
# A page that missed more asks for itself again: that costs one request instead of thousands of parts.
REPLAY_EVENTS = 5000


@dataclass(frozen=True, slots=True)
class Event:
    """A row of TaskEvent. `task_id` is 0 for an event of a source."""

    id: int
    task_id: int
    source_id: int
    kind: str


def newest_event_id() -> int:
    """Where the stream stands now, 0 before the first event: read it before the rows a page shows."""
    return TaskEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0


def late_seconds() -> float:
    """For how long the database may still show an event below one that was already seen."""
    return LATE_SECONDS if connection.vendor == "postgresql" else 0.0


class EventReader:
    """A position in the table. Used by one thread. `head` is the highest id that was read."""

    def __init__(self, late_seconds: float) -> None:
        self._late_seconds = late_seconds
        self.head = newest_event_id()
        self._floor = self._before(self.head)  # every event up to here has been read
        self._seen = {event.id: time.monotonic() for event in self._read(self._floor, self.head, BATCH)}

    def read_new(self) -> list[Event]:
        """Events that were not read before, oldest first; on PostgreSQL also those below `head`."""
        events = [
            event
            for event in self._read(self._floor, None, BATCH + len(self._seen))
            if event.id not in self._seen
        ]
        now = time.monotonic()
        self._seen.update((event.id, now) for event in events)
        if events:
            self.head = max(self.head, events[-1].id)
        settled = [id for id, at in self._seen.items() if now - at >= self._late_seconds]
        if settled:
            self._floor = max(settled)
            self._seen = {id: at for id, at in self._seen.items() if id > self._floor}
        return events

    def read_missed(self, positions: list[int]) -> tuple[list[Event], list[int | None]]:
        """Events after the lowest of `positions`, and from where each of them is to be served.

        None says that the gap cannot be closed: too many events, rows already removed, or a position that this
        database has never reached. Call it after `read_new`.
        """
        wanted = [self._before(position) if 0 < position <= self.head else position for position in positions]
        behind = [start for start in wanted if start < self.head]
        if not behind:
            return [], [start if start == self.head else None for start in wanted]
        rows = TaskEvent.objects.filter(id__gt=min(behind), id__lte=self.head).order_by("-id")
        events = [
            Event(*row) for row in rows.values_list("id", "task_id", "source_id", "kind")[: REPLAY_EVENTS + 1]
        ]
        reach = events[-1].id if len(events) > REPLAY_EVENTS else 0
        oldest = TaskEvent.objects.order_by("id").values_list("id", flat=True).first() or self.head + 1
        reach = max(reach, oldest - 1)
        events.reverse()
        return events, [start if reach <= start <= self.head else None for start in wanted]

    def _before(self, position: int) -> int:
        """The last id below which nothing can appear any more when `position` is the highest that was seen."""
        if not self._late_seconds or not position:
            return position
        at = TaskEvent.objects.filter(id=position).values_list("at", flat=True).first()
        if at is None:
            return position
        since = at - timedelta(seconds=self._late_seconds)
        rows = TaskEvent.objects.filter(id__lte=position).values_list("id", flat=True)
        settled = rows.filter(at__lt=since, id__lt=position).order_by("-id").first()
        # Without one the table is young, or it was cut down to what is in the window.
        return settled if settled is not None else (rows.order_by("id").first() or position) - 1

    @staticmethod
    def _read(after: int, until: int | None, limit: int) -> list[Event]:
        rows = TaskEvent.objects.filter(id__gt=after)
        if until is not None:
            rows = rows.filter(id__lte=until)
        values = rows.order_by("id").values_list("id", "task_id", "source_id", "kind")[:limit]
        return [Event(*row) for row in values]
