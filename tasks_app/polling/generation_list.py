"""One list call instead of many questions: what a list tells of our tasks, and which tasks of others it shows."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tasks_app.ingest import generations
from tasks_app.models import Generation
from tasks_app.polling import asking
from tasks_app.polling.generation_signs import count_lists
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import GenerationObservation
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)

MOST_PAGES = 20
"""Pages of one list in a row; reading ends sooner when all open tasks have been seen."""
LIST_SECONDS = 10.0
"""No further page is begun after this long."""
_NEEDS_FETCH = frozenset({State.COMPLETED, State.FAILED})


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows by remote id, and how long they took."""

    seen: Mapping[str, GenerationObservation]
    took_seconds: float


def is_listed(visit: GenerationVisit, rows: Collection[Generation]) -> bool:
    """Whether the list answers for our tasks: there is one, it is not refused, and there are enough tasks."""
    return can_list(visit) and len(rows) >= asking.LIST_FROM


def can_list(visit: GenerationVisit) -> bool:
    refused_until = visit.memory.no_list_until
    return visit.remote.capabilities.lists and (refused_until is None or refused_until <= visit.clock())


def look(visit: GenerationVisit, rows: Collection[Generation], *, for_all: bool) -> None:
    """Read the list, write what it tells of `rows`, add tasks of others, and plan the next list.

    `for_all`: the list answers for all our tasks, so it is asked for often. Raises what a question raises; a list that
    is refused is left alone for a while.
    """
    memory = visit.memory
    try:
        listing = visit.ask(lambda: _read(visit, rows))
    except SourceRefused as error:
        logger.warning("list refused source=%s reason=%s", visit.source.name, error)
        memory.no_list_until = visit.clock() + timedelta(seconds=asking.LIST_AGAIN_SECONDS)
        memory.list_at = None
        return
    if listing is None:
        memory.list_failures += 1
        asked = asking.Asked(
            asking.Answer.BAD, bad_answers=memory.list_failures, told_seconds=visit.told_seconds
        )
        memory.list_at = visit.clock() + timedelta(
            seconds=asking.next_question(asked, visit.chance()).seconds
        )
        return
    memory.list_failures, memory.listed_at = 0, visit.clock()
    has_news = _write(visit, listing, rows)
    _discover(visit, listing, rows)
    _plan(visit, listing, has_news=has_news or _is_watched(visit, rows), for_all=for_all)


def row_ids(row: Generation) -> set[str]:
    """Under which ids the remote may show the task."""
    return {row.task.remote_id, str(row.handle.get("id") or "")} - {""}


def _read(visit: GenerationVisit, rows: Collection[Generation]) -> Listing:
    """Page by page until all our tasks have been seen; of one that is shown twice, the end counts."""
    began, cursor = visit.monotonic(), ""
    wanted = set().union(*(row_ids(row) for row in rows)) if rows else set()
    seen: dict[str, GenerationObservation] = {}
    for _ in range(MOST_PAGES):
        page = visit.remote.list_recent(cursor)
        for told in page.observations:
            known = seen.get(told.remote_id)
            if known is None or known.state not in FINAL_STATES:
                seen[told.remote_id] = told
        is_last = not page.cursor or page.cursor == cursor
        is_late = visit.monotonic() - began > LIST_SECONDS or visit.should_stop()
        if is_last or is_late or (wanted and wanted <= seen.keys()):
            break
        cursor = page.cursor
    return Listing(seen, visit.monotonic() - began)


def _write(visit: GenerationVisit, listing: Listing, rows: Collection[Generation]) -> bool:
    """What the list tells of our tasks. One that has ended is asked for its result before its end is written.

    True when something was told that was not known.
    """
    memory, at = visit.memory, visit.clock()
    memory.present, memory.absent, memory.told_final = set(), set(), {}
    present: list[Generation] = []
    news: list[tuple[int, GenerationObservation]] = []
    for row in rows:
        told = next((listing.seen[i] for i in row_ids(row) if i in listing.seen), None)
        if told is None:
            memory.absent.add(row.pk)
            continue
        present.append(row)
        memory.present.add(row.pk)
        if told.is_partial and told.state in _NEEDS_FETCH:
            memory.told_final[row.pk] = told
        elif generations.tells_news(row, told, at=at):
            news.append((row.pk, told))
    changed = generations.observe_many(news, at=at)
    visit.has_ended |= any(pk in changed and told.state in FINAL_STATES for pk, told in news)
    count_lists(memory, present)
    return bool(news or memory.told_final)


def _discover(visit: GenerationVisit, listing: Listing, rows: Collection[Generation]) -> None:
    """Tasks that others started. Not while an order has no answer: its task would look like somebody else's."""
    source, memory = visit.source, visit.memory
    ours = set().union(*(row_ids(row) for row in rows)) if rows else set()
    strange = {i: o for i, o in listing.seen.items() if i not in ours and i not in memory.settled}
    # Asked after the list was read: an order that is sent from here on cannot be in it.
    is_unanswered = Generation.objects.unfinished().filter(
        task__source=source, called_at__isnull=False, answered_at__isnull=True, actor_name__gt=""
    )
    if not strange or is_unanswered.exists():
        return
    new = generations.discover(
        source, list(strange.values()), at=visit.clock(), handle_of=visit.remote.handle_of
    )
    if new < generations.MOST_NEW:
        memory.settle({i for i, o in strange.items() if o.state in FINAL_STATES})
    if new:
        logger.info("found source=%s tasks=%d", source.name, new)


def _plan(visit: GenerationVisit, listing: Listing, *, has_news: bool, for_all: bool) -> None:
    memory = visit.memory
    if for_all:
        following = asking.next_list(
            memory.list_pause,
            has_news=has_news,
            took_seconds=listing.took_seconds,
            floor=visit.remote.capabilities.floor_seconds,
            chance=visit.chance(),
        )
        memory.list_pause = following.pause
        wait = following.seconds
    else:
        memory.list_pause = 0.0
        wait = asking.spread(asking.LIST_LOOK_SECONDS, visit.chance())
    assert memory.listed_at is not None
    memory.list_at = memory.listed_at + timedelta(
        seconds=wait
    )  # writing its rows takes nothing from the pace


def _is_watched(visit: GenerationVisit, rows: Collection[Generation]) -> bool:
    at = visit.clock()
    return any(row.task.watched_until is not None and row.task.watched_until > at for row in rows)
