"""Whether the lists of a node hang together, and what must not come in again.

A node keeps its ended tasks in two files, in the order of their ends. When the newer one has grown beyond 50,000 bytes
it takes the place of the older, which is dropped: about 430 tasks at a time. So it loses from the old end only, and
whatever ended after a task that is still listed is listed, too.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.ingest.gaps import store_gap
from tasks_app.ingest.periods import read_periods
from tasks_app.models import Node, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.polling import cadence
from tasks_app.polling.visit import Visit
from tasks_app.sources.base import TaskObservation
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)

ROTATED_BYTES = 45_000
"""A node whose list is smaller than this has never dropped anything: the files rotate at 50,000 bytes, and after the
first drop one full file is always there. A little below, because texts arrive trimmed."""
_ROW_BYTES = 11  # blanks, the end as hexadecimal number, line feed
_LOOK_UP_ROWS = 500
_CUT_OFF = timedelta(seconds=2)  # a cursor has whole seconds, and is a moment younger than what was read


@dataclass(frozen=True, slots=True)
class Listing:
    """What one node answered, complete from the start `since` on (Unix seconds; None: all it has) when `is_whole`."""

    node: Node
    observations: tuple[TaskObservation, ...]
    pages: int
    since: int | None = None
    is_whole: bool = True

    @property
    def ended(self) -> list[TaskObservation]:
        return [seen for seen in self.observations if seen.running is False]


def goes_on(listing: Listing, open_tasks: Mapping[str, Task]) -> bool:
    """Whether `listing` goes on where the last reading ended, so that nothing can have been dropped in between.

    It does when it shows an ended task that began by the cursor and did not run then: that one was listed already, and
    nothing is dropped before it. It also does when no task has ended since: dropping takes the ends of hundreds.
    """
    ended = listing.ended
    if listing.node.first_synced_at is None or not ended:
        return True
    return any(_starts_by(seen, listing.node.cursor) and seen.remote_id not in open_tasks for seen in ended)


def look_for_gap(visit: Visit, listing: Listing, open_tasks: Mapping[str, Task]) -> None:
    """Keep a gap when `listing`, all that the node still has, does not go on where the last reading ended.

    Called before its rows are written. There is no gap when the node simply had no tasks: a list too small to have
    ever been rotated has lost nothing, so whatever ended since the last reading is in it. Unless none of the tasks that
    we know is in it: then the node was set up anew, or somebody emptied its list.

    Of a list that was rotated nobody can say whether tasks were dropped between the last reading and its oldest task.
    They may have been, and that is what a gap says. It reaches from the cursor to the start of the oldest task still
    listed (its end, when it began before the cursor).
    """
    ended = listing.ended
    if goes_on(listing, open_tasks) or _was_seen_by_then(visit, listing, open_tasks):
        return
    if _size(ended) < ROTATED_BYTES and not _is_emptied(visit, listing):
        return
    node, oldest = listing.node, min(ended, key=lambda seen: seen.ended_at or seen.started_at)
    since = node.first_synced_at or visit.clock()
    if node.cursor:
        since = datetime.fromtimestamp(node.cursor, UTC)
    until = oldest.started_at if oldest.started_at > since else oldest.ended_at or oldest.started_at
    if until <= since:
        return  # a clock was set back: there is no time that could be named
    with transaction.atomic():
        if store_gap(node, since=since, until=until, at=visit.clock()) is not None:
            record(
                Action.HISTORY_GAP,
                actor=None,
                target=node,
                target_name=f"{visit.source.name} {node.name}",
                source=visit.source,
                since=since.isoformat(),
                until=until.isoformat(),
                listed=len(ended),
            )
            logger.warning(
                "history has a gap source=%s node=%s since=%s until=%s",
                visit.source.name,
                node.name,
                since.isoformat(),
                until.isoformat(),
            )


def without_past(
    visit: Visit, seen: Iterable[TaskObservation], open_tasks: Mapping[str, Task]
) -> list[TaskObservation]:
    """Those that the history keeps: what retention has removed, or would at once, does not come in again.

    The end of a task that we know as running is always taken.
    """
    memory, at = visit.memory, visit.clock()
    if memory.periods is None or at - memory.periods.at >= cadence.PERIODS:
        memory.periods = read_periods(at)
    periods = memory.periods
    if not periods.kept_from:
        return list(seen)
    return [
        o
        for o in seen
        if o.running is not False
        or o.remote_id in open_tasks
        or not periods.is_past(o.type, o.started_at, o.ended_at)
    ]


def _starts_by(seen: TaskObservation, cursor: int) -> bool:
    return int(seen.started_at.timestamp()) <= cursor


def _size(ended: Iterable[TaskObservation]) -> int:
    """Bytes that these tasks take in the node's files."""
    return sum(len(seen.remote_id) + len(seen.exit_text or "") + _ROW_BYTES for seen in ended)


def _was_seen_by_then(visit: Visit, listing: Listing, open_tasks: Mapping[str, Task]) -> bool:
    """The same as `goes_on` for a node whose clock is ahead: its cursor is the time of the reading by ours."""
    by_then = datetime.fromtimestamp(listing.node.cursor, UTC) + _CUT_OFF
    seen = Task.objects.filter(source=visit.source, state__in=FINAL_STATES, seen_at__lte=by_then)
    return _is_any_of(seen, [o.remote_id for o in listing.ended if o.remote_id not in open_tasks])


def _is_emptied(visit: Visit, listing: Listing) -> bool:
    """Whether we know ended tasks of the node and none of them is listed."""
    known = Task.objects.filter(source=visit.source, node=listing.node.name)
    known = known.filter(state__in=FINAL_STATES - {State.LOST})
    return known.exists() and not _is_any_of(known, [o.remote_id for o in listing.ended])


def _is_any_of(known: TaskQuerySet, upids: list[str]) -> bool:
    return any(
        known.filter(remote_id__in=upids[first : first + _LOOK_UP_ROWS]).exists()
        for first in range(0, len(upids), _LOOK_UP_ROWS)
    )
