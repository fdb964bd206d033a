"""The feed: one pass over what is new, for all listeners of this web process together.

`Feed` lives in one thread with a database connection of its own and knows topics, not clients. What it returns is
handed to the event loop, where `hub` distributes it.
"""

import time
from dataclasses import dataclass

from django.db import connection

from tasks_app.live.events import Event, EventReader, late_seconds
from tasks_app.live.parts import Composer, Message
from tasks_app.live.topics import looked_at
from tasks_app.models import Task

# A page's sign that somebody looks at a task lasts 30 s (`Task.objects.touch_watched`).
TOUCH_SECONDS = 10.0
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: `head` is the newest event id, `messages` go to all who were there before.

    `replays` are for those who come in, in their order: what each gets instead, or None when the gap is too large.
    """

    head: int
    messages: tuple[Message, ...]
    replays: tuple[tuple[Message, ...] | None, ...]


class Feed:
    """Reads, renders, keeps nothing about clients. Construct it anywhere, use and close it in one thread."""

    def __init__(self) -> None:
        self._reader: EventReader | None = None
        self._composer = Composer()
        self._touched: dict[int, float] = {}

    def run_pass(self, topics: frozenset[str], joins: list[int | None]) -> Pass:
        """What is new for `topics`. `joins` are the positions of clients that come in with this pass.

        A client without a position starts here. One with a position gets everything after it, whether or not the
        others have had it.
        """
        connection.close_if_unusable_or_obsolete()
        self._touch({pk for topic in topics if (pk := looked_at(topic)) is not None})
        if self._reader is None:
            self._reader = EventReader(late_seconds())
        reader = self._reader
        old_head = reader.head
        new = reader.read_new()
        starts: list[int | None] = []
        missed: list[Event] = []
        if any(position is not None for position in joins):
            missed, starts = reader.read_missed([position for position in joins if position is not None])
        messages = tuple(self._composer.compose(new, topics, at_least=old_head))
        replayed = self._composer.compose(missed, topics) if missed else []
        served = iter(starts)
        replays = tuple(
            messages if position is None else _missed(replayed, next(served)) for position in joins
        )
        return Pass(reader.head, messages, replays)

    def close(self) -> None:
        """Close the thread's connection."""
        connection.close()

    def _touch(self, task_ids: set[int]) -> None:
        """Tell the poller which tasks somebody looks at: one update for all, every TOUCH_SECONDS."""
        now = time.monotonic()
        self._touched = {pk: at for pk, at in self._touched.items() if pk in task_ids}
        due = sorted(pk for pk in task_ids if now - self._touched.get(pk, -TOUCH_SECONDS) >= TOUCH_SECONDS)
        for start in range(0, len(due), _CHUNK):
            Task.objects.all().touch_watched(due[start : start + _CHUNK])
        self._touched.update((pk, now) for pk in due)


def _missed(messages: list[Message], start: int | None) -> tuple[Message, ...] | None:
    return None if start is None else tuple(message for message in messages if message.event_id > start)
