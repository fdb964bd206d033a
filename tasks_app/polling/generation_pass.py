"""One pass over a generation source: a list where it replaces many questions, then single tasks that are due."""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Min

from tasks_app.ingest import generations
from tasks_app.ingest.signs import LOST_AFTER, LOST_AFTER_MISSES
from tasks_app.models import Generation
from tasks_app.polling import asking, generation_list
from tasks_app.polling.asking import Answer, Asked
from tasks_app.polling.errands import enqueue_generation_follow_up
from tasks_app.polling.generation_signs import note_quiet
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import GenerationObservation
from tasks_app.states import State

logger = logging.getLogger(__name__)

MOST_OPEN = 5000
"""Open tasks of one source that a pass looks at."""
ASKS_PER_PASS = 25
"""Single questions in one pass; the rest follow in the next, at once."""
PASS_SECONDS = 5.0
"""No further question is begun after this long in a pass."""
SOONEST_SECONDS = 0.5
"""Between two passes of which the first left nothing undone."""

# Of rows with long texts only what a pass compares.
_NOT_NEEDED = (
    *("prompt", "parameters", "problem_detail", "task__search_text", "task__tracker_state", "task__raw"),
    *("task__exit_text", "task__acknowledged_note"),
)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """`has_answered`: the source told something. False: nothing was asked, or answers were bad, too few to judge."""

    next_pass_at: datetime
    has_answered: bool


def run_generation_pass(visit: GenerationVisit) -> GenerationResult:
    """Visit the source once. Raises SourceError when the source as a whole failed: nothing about tasks changes then.

    A source that did not answer is asked one question; only when it answers does the pass go on. Safe to be cut off
    anywhere: what was not written is asked for again by the next pass.
    """
    source, memory, at = visit.source, visit.memory, visit.clock()
    was_failing = source.failing_since is not None
    if was_failing:
        memory.bad_in_a_row = asking.BAD_IN_A_ROW - 1  # the next bad answer is one too many
        memory.rest_until = None
    rows = _open_rows(visit)
    memory.forget_tasks({row.pk for row in rows})
    for_all = generation_list.is_listed(visit, rows)
    if not visit.is_resting and _is_list_due(visit, at, for_all=for_all):
        generation_list.look(visit, rows, for_all=for_all)
        for_all = generation_list.is_listed(visit, rows)
    due = _due(visit, rows, at, for_all=for_all, was_failing=was_failing)
    left = _ask_each(visit, due)
    if _is_check_due(visit, at, was_failing=was_failing, is_idle=not rows):
        _check(visit)
    note_quiet(source, memory, rows, at)
    if visit.has_ended:
        enqueue_generation_follow_up(source, at)
    planned = _next_pass(visit, rows, for_all=for_all, has_more=left > 0)
    memory.planned_at = planned
    return GenerationResult(planned, visit.has_answered)


def _open_rows(visit: GenerationVisit) -> list[Generation]:
    askable = Generation.objects.askable().filter(task__source=visit.source).select_related("task")
    return list(askable.defer(*_NOT_NEEDED).order_by("ask_at")[:MOST_OPEN])


def _is_list_due(visit: GenerationVisit, at: datetime, *, for_all: bool) -> bool:
    """When its time has come, when it is the one question to a failing source, when it has to answer for all now."""
    memory = visit.memory
    if not generation_list.can_list(visit):
        return False
    if memory.list_at is None or visit.source.failing_since is not None:
        return True
    is_woken = memory.planned_at is not None and visit.source.next_pass_at < memory.planned_at
    if for_all and not memory.list_failures and memory.listed_at and (is_woken or not memory.list_pause):
        # An event, or a task that is new: the floor holds, however many of them there are.
        floor = timedelta(seconds=visit.remote.capabilities.floor_seconds)
        memory.list_at = min(memory.list_at, memory.listed_at + floor)
    return memory.list_at <= at


def _due(
    visit: GenerationVisit, rows: list[Generation], at: datetime, *, for_all: bool, was_failing: bool
) -> list[Generation]:
    """Whom to ask: who has ended by the list, then watched ones, then who waits longest.

    Of a source that answers again, those whose last answer was bad do not wait any longer.
    """
    memory = visit.memory

    def is_due(row: Generation) -> bool:
        is_time = row.ask_at is None or row.ask_at <= at
        if row.pk in memory.told_final:
            return is_time or (not row.bad_answers and row.pk not in memory.unfetched)
        if for_all and row.pk not in memory.absent and not _is_followed(visit, row, at):
            return False
        return is_time or (was_failing and row.bad_answers > 0)

    due = [row for row in rows if is_due(row)]
    if was_failing and not due and not visit.has_asked:
        due = rows[:1]
    return sorted(due, key=lambda row: (row.pk not in memory.told_final, not _is_watched(row, at)))


def _is_watched(row: Generation, at: datetime) -> bool:
    return row.task.watched_until is not None and row.task.watched_until > at


def _is_followed(visit: GenerationVisit, row: Generation, at: datetime) -> bool:
    """Whether somebody looks at the task and its own answer tells what a list does not."""
    can = visit.remote.capabilities
    return _is_watched(row, at) and (can.logs or can.queue_position)


def _ask_each(visit: GenerationVisit, due: Iterable[Generation]) -> int:
    """Ask within the budget. Returns how many were left for the next pass."""
    began = visit.monotonic()
    waiting = list(due)
    for asked, row in enumerate(waiting):
        is_late = visit.monotonic() - began > PASS_SECONDS
        if visit.is_resting or visit.should_stop():
            return 0
        if asked >= ASKS_PER_PASS or is_late:
            return len(waiting) - asked
        _ask(visit, row)
    return 0


def _ask(visit: GenerationVisit, row: Generation) -> None:
    handle = row.handle or visit.remote.handle_of(row.task.remote_id)
    try:
        seen = visit.ask(partial(_fetch, visit, row, handle))
    except SourceRefused as error:
        if error.kind == "not_found":
            _note_missing(visit, row)
        else:
            logger.warning("question refused task=%d kind=%s", row.pk, error.kind)
            _plan(visit, row, Asked(Answer.BAD, bad_answers=row.bad_answers + 1))
        return
    except SourceUnavailable:  # the source as a whole: the next try begins with another task
        _plan(visit, row, Asked(Answer.BAD, bad_answers=row.bad_answers + 1))
        raise
    if seen is None:
        asked = Asked(Answer.BAD, bad_answers=row.bad_answers + 1, told_seconds=visit.told_seconds)
        _plan(visit, row, asked)
        return
    _note_told(visit, row, seen)


def _fetch(visit: GenerationVisit, row: Generation, handle: Mapping[str, object]) -> GenerationObservation:
    seen = visit.remote.fetch(handle)
    if seen.remote_id not in generation_list.row_ids(row):
        raise ValueError("The answer is about another task.")
    return seen


def _note_told(visit: GenerationVisit, row: Generation, seen: GenerationObservation) -> None:
    at = visit.clock()
    has_changed = generations.observe(row.pk, seen, at=at)
    visit.note_end(has_changed, seen.state)
    fresh = Generation.objects.select_related("task").only("last_sign_at", "queue_position", "task__state")
    after = fresh.get(pk=row.pk)
    if after.task.is_final:
        return
    state = State(after.task.state)
    asked = Asked(
        Answer.TOLD,
        state=state,
        progress=seen.progress,
        has_moved=state != row.task.state or after.queue_position != row.queue_position,
        told_seconds=seen.ask_again_seconds,
        is_hosted_video=row.kind == Generation.Kind.VIDEO and not visit.remote.capabilities.forgets,
    )
    is_silent = after.last_sign_at == row.last_sign_at
    _plan(visit, row, asked, asks_without_sign=row.asks_without_sign + 1 if is_silent else 0)


def _note_missing(visit: GenerationVisit, row: Generation) -> None:
    """The remote does not know it. What its list still shows is believed, and written after several misses."""
    memory, at = visit.memory, visit.clock()
    told = memory.told_final.get(row.pk)
    if told is not None:
        count, since = memory.unfetched.get(row.pk, (0, at))
        memory.unfetched[row.pk] = (count + 1, since)
        is_enough = count + 1 >= LOST_AFTER_MISSES and at - since >= LOST_AFTER
        if is_enough:
            visit.note_end(generations.observe(row.pk, told, at=at), told.state)
            return
    elif row.pk not in memory.present:
        generations.note_missing(row.pk, at=at)
    _plan(visit, row, Asked(Answer.MISSING))


def _plan(
    visit: GenerationVisit, row: Generation, asked: Asked, *, asks_without_sign: int | None = None
) -> None:
    """Write down when the task is asked for again. A bad answer is no question without a sign: it told nothing."""
    floor = visit.remote.capabilities.floor_seconds
    following = asking.next_question(replace(asked, floor=floor, pause=row.pause_seconds), visit.chance())
    generations.record_question(
        row,
        ask_at=visit.clock() + timedelta(seconds=following.seconds),
        pause_seconds=following.pause,
        bad_answers=asked.bad_answers,
        asks_without_sign=row.asks_without_sign if asks_without_sign is None else asks_without_sign,
    )


def _is_check_due(visit: GenerationVisit, at: datetime, *, was_failing: bool, is_idle: bool) -> bool:
    """An idle source without a list is looked at now and then; a failing one when there is nothing else to ask."""
    if visit.is_resting or visit.has_asked or visit.should_stop():
        return False
    return was_failing or (is_idle and not generation_list.can_list(visit) and _check_at(visit, at) <= at)


def _check_at(visit: GenerationVisit, at: datetime) -> datetime:
    memory = visit.memory
    if memory.answered_at is None:
        return memory.check_at or at
    answered = memory.answered_at + timedelta(seconds=asking.CHECK_SECONDS)
    return max(answered, memory.check_at or answered)


def _check(visit: GenerationVisit) -> None:
    if visit.ask(visit.remote.check) is not None:
        visit.memory.check_at = None
        return
    asked = Asked(Answer.BAD, bad_answers=visit.memory.bad_in_a_row, told_seconds=visit.told_seconds)
    wait = asking.next_question(asked, visit.chance()).seconds
    visit.memory.check_at = visit.clock() + timedelta(seconds=wait)


def _next_pass(
    visit: GenerationVisit, rows: Collection[Generation], *, for_all: bool, has_more: bool
) -> datetime:
    """The earliest of: the list, the next single question, a look whether the source answers. Not while it rests."""
    memory, at = visit.memory, visit.clock()
    if has_more:
        return at
    single = Generation.objects.askable().filter(task__source=visit.source)
    if for_all:
        followed = {row.pk for row in rows if _is_followed(visit, row, at)}
        single = single.filter(pk__in=memory.absent | memory.told_final.keys() | followed)
    first = single.aggregate(first=Min("ask_at"))["first"]
    times: list[datetime] = [first] if first is not None else []
    can_list = generation_list.can_list(visit)
    if can_list:
        times.append(memory.list_at or at)
    elif not times:
        times.append(_check_at(visit, at))
    soonest: datetime = max(at + timedelta(seconds=SOONEST_SECONDS), memory.rest_until or at)
    return max(soonest, min(times))
