"""The only writer of what generation sources told: answers to orders, observations, tasks that others started.

Rules of state: one way, a final state never changes (an unknown end gives way to a known one), a failed question
changes nothing, a task that the remote does not know is lost after several misses. Everything may be repeated.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from tasks_app.ingest.assets import store_assets, tells_assets
from tasks_app.ingest.events import Events
from tasks_app.ingest.generation_logs import append_log, close_log, tells_more
from tasks_app.ingest.generation_values import (
    MOST_TEXT,
    Changes,
    aware,
    changes_of,
    end,
    kept_json,
    within,
)
from tasks_app.ingest.signs import LOST_AFTER, LOST_AFTER_MISSES, LOST_NOTE
from tasks_app.ingest.tasks import search_text
from tasks_app.ingest.text import storable
from tasks_app.models import Generation, LogLine, Source, Task, TaskEvent
from tasks_app.sources.generation.base import Accepted, GenerationObservation, Problem
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)

FIRST_QUESTION = timedelta(seconds=2)
"""After an answer to an order; the poller finds its own pace from there."""
MOST_NEW = 200
"""Tasks of others that one call of `discover` adds; the rest come with the next."""
BATCH = 50
"""Rows of a list in one transaction: with more, other writers on SQLite wait noticeably."""
_MOST_SEARCHED = 4000
_MOST_ID = 1000

_warned: set[tuple[int, str]] = set()  # source and status word that nobody knows


def record_answer(task_pk: int, accepted: Accepted, *, at: datetime) -> None:
    """The remote took the order: keep its id and handle, and what it told about the task. Twice changes nothing.

    A row that a list call made of the same task in the meantime is merged into ours.
    """
    with transaction.atomic():
        row = _locked(task_pk)
        events = Events(row.task.source_id, at)
        if row.answered_at is None:
            first_question = at + FIRST_QUESTION
            values: dict[str, Any] = {
                "handle": _handle(accepted.handle, accepted.remote_id),
                "answered_at": at,
                "called_at": row.called_at or at,
                "lease_until": None,
                "hold_reason": "",
                "last_sign_at": at,
                "ask_at": None if row.task.is_final else first_question,
                "pause_seconds": 0.0,
                "bad_answers": 0,
            }
            own_id: dict[str, Any] = {}
            if _take_over(row, accepted.remote_id):
                own_id = {"remote_id": accepted.remote_id}
            _save(row, Changes(task=own_id, generation=values), at, events)
            Source.objects.filter(pk=row.task.source_id, next_pass_at__gt=first_question).update(
                next_pass_at=first_question
            )
        _apply(row, accepted.observation, at, events)
        events.save()


def observe(task_pk: int, seen: GenerationObservation, *, at: datetime) -> bool:
    """Write what `seen` tells that was not known. False, and nothing written, when it tells nothing new."""
    row = Generation.objects.select_related("task").filter(pk=task_pk).first()
    if row is None or not tells_news(row, seen, at=at):
        return False
    with transaction.atomic():
        # Locked and read again: a person may have asked to cancel, or another poller may have been quicker.
        row = _locked(task_pk)
        events = Events(row.task.source_id, at)
        has_changed = _apply(row, seen, at, events)
        events.save()
    return has_changed


def observe_many(told: Sequence[tuple[int, GenerationObservation]], *, at: datetime) -> set[int]:
    """`observe` for the rows of a list (task pk, what was seen), some in one transaction. Returns what changed."""
    changed = set()
    for first in range(0, len(told), BATCH):
        batch = dict(told[first : first + BATCH])
        with transaction.atomic():
            rows = Generation.objects.select_for_update().select_related("task").in_bulk(list(batch))
            for pk, row in rows.items():
                events = Events(row.task.source_id, at)
                if _apply(row, batch[pk], at, events):
                    changed.add(pk)
                events.save()
    return changed


def tells_news(row: Generation, seen: GenerationObservation, *, at: datetime) -> bool:
    """Whether `observe` would write something; one query at most. `row` with its task."""
    if seen.state is None:
        _warn_of_word(row, seen.word)
    if changes_of(row, seen, at) or (row.task.state == State.COMPLETED and tells_assets(row, seen.assets)):
        return True
    if row.task.is_final or seen.log_lines is None or not tells_more(row.task, seen.log_lines):
        return False
    known = row.task.log_total
    if len(seen.log_lines) > known:
        return True
    return not LogLine.objects.filter(
        task=row.task, number=known, text=storable(seen.log_lines[-1][:MOST_TEXT])
    ).exists()


def note_missing(task_pk: int, *, at: datetime) -> None:
    """The remote answered that it does not know the task: cancelled when we asked for that, else lost after a while.

    Lost means failed, with the problem `lost`; see LOST_AFTER_MISSES and LOST_AFTER.
    """
    with transaction.atomic():
        row = _locked(task_pk)
        task = row.task
        if task.is_final:
            return
        if task.cancel_requested_at is not None and task.cancel_delivered_at is not None:
            _end(row, State.CANCELLED, None, at)
            return
        misses = Task.objects.filter(pk=task_pk)
        if task.missing_since is None:
            misses.update(missing_count=1, missing_since=at)
            return
        misses.update(missing_count=F("missing_count") + 1)
        if task.missing_count + 1 >= LOST_AFTER_MISSES and at - task.missing_since >= LOST_AFTER:
            _end(row, State.FAILED, Problem(Kind.LOST, LOST_NOTE), at)
            logger.info("task lost source=%d id=%s", task.source_id, task.remote_id)


def end_without_remote(
    task_pk: int, *, state: State, at: datetime, problem: Problem | None = None, note: str = ""
) -> bool:
    """Write an end that no observation told: refused, withdrawn, outcome unknown. False when it has ended already.

    `note` says for people how a cancel came out; for any other end it stands in for a problem's text.
    """
    assert state in FINAL_STATES
    with transaction.atomic():
        row = _locked(task_pk)
        if row.task.is_final:
            return False
        if problem is None and note and state is not State.CANCELLED:
            problem = Problem(Kind.PROVIDER, note)
        _end(row, state, problem, at, cancel_note=note if state is State.CANCELLED else "")
    return True


def record_question(
    row: Generation, *, ask_at: datetime, pause_seconds: float, asks_without_sign: int, bad_answers: int = 0
) -> None:
    """When a task is asked for next. Somebody who has moved `ask_at` since `row` was read (an event) is heard."""
    mine = Generation.objects.filter(pk=row.pk, ask_at=row.ask_at)
    mine.update(
        ask_at=ask_at,
        pause_seconds=pause_seconds,
        bad_answers=min(bad_answers, 1000),
        asks_without_sign=min(asks_without_sign, 10**6),
    )


def mark_quiet(source: Source, rows: Collection[Generation], *, at: datetime) -> int:
    """No sign of life for long: a warning beside the state, until the next sign takes it back.

    `rows` as they were judged: one that has shown a sign since is left alone. Returns how many are newly quiet.
    """
    with transaction.atomic():
        events = Events(source.pk, at)
        silent = Generation.objects.unfinished().filter(quiet_since__isnull=True)
        quiet = [
            row.pk
            for row in rows
            if silent.filter(pk=row.pk, last_sign_at=row.last_sign_at).update(quiet_since=row.last_sign_at)
        ]
        for pk in quiet:
            events.add(TaskEvent.Kind.STATE, pk)
        events.save()
    return len(quiet)


def discover(
    source: Source,
    observations: Sequence[GenerationObservation],
    *,
    at: datetime,
    handle_of: Callable[[str], Mapping[str, Any]] = lambda remote_id: {"id": remote_id},
) -> int:
    """Add tasks that others started, with nobody's name. Known ids are left alone. Returns how many are new.

    One that ended before results are kept for is no news and stays out.
    """
    oldest = at - timedelta(hours=settings.TASK_RETENTION_HOURS)
    wanted = {o.remote_id: o for o in observations if _is_worth_a_row(o, oldest)}
    if not wanted:
        return 0
    known = Task.objects.filter(source=source, remote_id__in=list(wanted)[:5000])
    for remote_id in known.values_list("remote_id", flat=True):
        wanted.pop(remote_id, None)
    with transaction.atomic():
        events = Events(source.pk, at)
        new = [_add_foreign(source, o, handle_of, at, events) for o in list(wanted.values())[:MOST_NEW]]
        events.save()
    return sum(new)


def search_text_of(row: Generation) -> str:
    """What the search over tasks looks through: as for every task, and the whole prompt and who asked."""
    words = (search_text(row.task), row.prompt.lower(), row.actor_name.lower())
    return " ".join(filter(None, words))[:_MOST_SEARCHED]


def _locked(task_pk: int) -> Generation:
    return Generation.objects.select_for_update().select_related("task").get(pk=task_pk)


def _apply(row: Generation, seen: GenerationObservation, at: datetime, events: Events) -> bool:
    """Write `seen` into `row`, which the caller has locked. Whether something changed."""
    changes = changes_of(row, seen, at)
    has_changed = False
    if not row.task.is_final and seen.log_lines and append_log(row.task, seen.log_lines, at=at):
        events.add(TaskEvent.Kind.LOG, row.pk)
        changes.is_sign = has_changed = True
    has_changed |= _save(row, changes, at, events)
    if row.task.state == State.COMPLETED and store_assets(row, seen.assets, at=at):
        events.add(TaskEvent.Kind.STATE, row.pk)
        has_changed = True
    if changes.ends:
        close_log(row.task, at=at)
    return has_changed


def _end(
    row: Generation, state: State, problem: Problem | None, at: datetime, *, cancel_note: str = ""
) -> None:
    events = Events(row.task.source_id, at)
    changes = Changes(task={"state": state, "ended_at": at})
    end(changes, row, state, problem or Problem("", ""))
    if cancel_note:
        changes.task["cancel_note"] = storable(cancel_note)[:MOST_TEXT]
    _save(row, changes, at, events)
    close_log(row.task, at=at)
    events.save()


def _save(row: Generation, changes: Changes, at: datetime, events: Events) -> bool:
    """Write the changed fields of both rows, with the event that pages need."""
    if changes.is_sign and not changes.ends:
        changes.generation |= {"last_sign_at": at, "asks_without_sign": 0}
        if row.quiet_since is not None:
            changes.generation["quiet_since"] = None
    if not changes:
        return False
    for name, value in changes.generation.items():
        setattr(row, name, value)
    for name, value in changes.task.items():
        setattr(row.task, name, value)
    if changes.generation:
        row.save(update_fields=list(changes.generation))
    if changes.task:
        names = {*changes.task, "changed_at"}
        row.task.changed_at = at
        if not names.isdisjoint(_SEARCHED):
            row.task.search_text = search_text_of(row)
            names.add("search_text")
        row.task.save(update_fields=names)
    if kind := _event_of(changes):
        events.add(kind, row.pk)
    return True


_SEARCHED = frozenset({"remote_id", "error_line"})
_MOVES = frozenset({"percent", "step", "raw"})
_UNSEEN = frozenset(
    {
        *("metadata", "remote_updated_at", "word", "last_sign_at", "asks_without_sign", "ask_at", "message"),
        *("pause_seconds", "handle", "raw", "missing_count", "missing_since"),
    }
)


def _event_of(changes: Changes) -> TaskEvent.Kind | None:
    """PROGRESS when only the bar and its words move, None when nobody sees a difference."""
    names = (set(changes.task) | set(changes.generation)) - _UNSEEN
    if names - _MOVES:
        return TaskEvent.Kind.STATE
    return TaskEvent.Kind.PROGRESS if names else None


def _take_over(row: Generation, remote_id: str) -> bool:
    """Whether `remote_id` may become the id of our row. Nobody's row with the same id goes: it is this task."""
    if not _is_id(remote_id) or row.task.remote_id == remote_id:
        return False
    same = Task.objects.filter(source=row.task.source_id, remote_id=remote_id).exclude(pk=row.pk)
    same.filter(generation__actor_name="").delete()
    if other := same.first():
        # The remote gave one id to two orders. Ours is asked for by its handle all the same.
        logger.warning("id is taken task=%d other=%d id=%s", row.pk, other.pk, remote_id)
        return False
    return True


def _handle(told: Mapping[str, Any], remote_id: str) -> dict[str, Any]:
    try:
        return kept_json(told)
    except ValueError:
        logger.warning("handle is too large id=%s", remote_id)
        return {"id": storable(remote_id)[:_MOST_ID]}


def _is_id(remote_id: Any) -> bool:
    return (
        isinstance(remote_id, str)
        and 0 < len(remote_id) <= _MOST_ID
        and remote_id == storable(remote_id)
        and len(remote_id.encode()) <= _MOST_ID
    )


def _is_worth_a_row(seen: GenerationObservation, oldest: datetime) -> bool:
    if not _is_id(seen.remote_id) or seen.state is None:
        return False
    last = aware(seen.finished_at) or aware(seen.updated_at) or aware(seen.created_at)
    return seen.state not in FINAL_STATES or (last is not None and last >= oldest)


def _add_foreign(
    source: Source,
    seen: GenerationObservation,
    handle_of: Callable[[str], Mapping[str, Any]],
    at: datetime,
    events: Events,
) -> bool:
    kind = seen.kind if seen.kind in Generation.Kind.values else Generation.Kind.VIDEO
    prompt = str((seen.input or {}).get("prompt") or "")
    prompt = storable(prompt[:MOST_TEXT]).strip()
    earliest = at - timedelta(days=3650)
    task, is_new = Task.objects.get_or_create(
        source=source,
        remote_id=seen.remote_id,
        defaults={
            "type": kind,
            "object_name": " ".join(prompt.split())[:400],
            "remote_user": "",
            "state": State.PENDING,
            "started_at": within(seen.created_at, earliest, at) or at,
            "seen_at": at,
            "changed_at": at,
        },
    )
    if not is_new:
        return False
    row = Generation.objects.create(
        task=task,
        kind=kind,
        prompt=prompt,
        asked_at=task.started_at,
        answered_at=at,
        handle=_handle(handle_of(seen.remote_id), seen.remote_id),
        ask_at=at + FIRST_QUESTION,
        last_sign_at=at,
    )
    Task.objects.filter(pk=task.pk).update(search_text=search_text_of(row))
    events.add(TaskEvent.Kind.NEW, task.pk)
    _apply(row, seen, at, events)
    return True


def _warn_of_word(row: Generation, word: str) -> None:
    key = (row.task.source_id, str(word)[:60])
    if key not in _warned and len(_warned) < 1000:
        _warned.add(key)
        logger.warning("unknown status word source=%d word=%r: the state stays", *key)
