"""Turns observations into task rows, one way only: pending, processing, one final state."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from tasks_app.ingest.events import Events
from tasks_app.ingest.insertion import insert_tasks, like
from tasks_app.ingest.persons import Persons, read_persons
from tasks_app.ingest.text import storable, storable_json
from tasks_app.models import Guest, Source, Submission, Task, TaskEvent
from tasks_app.progress.outcome import Outcome, classify
from tasks_app.progress.tracker import Tracker, final_percent
from tasks_app.progress.upid import InvalidUpid, main_vmid, parse_upid
from tasks_app.sources.base import TaskObservation
from tasks_app.states import State, may_become

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
"""Rows a transaction: with more, web writers on SQLite wait noticeably."""
PAUSE_SECONDS = 0.02
"""Between batches: web writes stay below 55 ms where a writer without pause starves them for seconds (measured)."""

TOLD_SINGLY = timedelta(minutes=10)
"""A task that ended longer ago when it was first seen is history."""

_LIMITS = {"remote_id": 1000, "node": 100, "type": 60, "object_id": 600, "user": 200, "token": 100}
_END_IS_ESTIMATED = "end_estimated"


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Rows written. `new_pks` are the tasks first seen now, oldest first; `ended_pks` those that became final."""

    new_pks: tuple[int, ...] = ()
    changed_pks: tuple[int, ...] = ()
    ended_pks: tuple[int, ...] = ()
    skipped: int = 0


def ingest_observations(
    source: Source,
    observations: Iterable[TaskObservation],
    *,
    at: datetime,
    sleep: Callable[[float], None] = time.sleep,
) -> IngestResult:
    """Write what really changed, oldest task first; a second call with the same writes nothing.

    Duplicates by UPID are dropped (a finished one wins); a malformed observation is logged and skipped. Each batch
    of `BATCH_ROWS` is one transaction.
    """
    unique: dict[str, TaskObservation] = {}
    skipped = 0
    for observation in observations:
        complaint = _complaint(observation)
        if complaint:
            skipped += 1
            logger.warning("observation skipped source=%s reason=%s", source.name, complaint)
            continue
        known = unique.get(observation.remote_id)
        if known is None or (known.running is not False and observation.running is False):
            unique[observation.remote_id] = observation
    ordered = sorted(unique.values(), key=lambda o: (o.started_at, o.remote_id))
    new: list[int] = []
    changed: list[int] = []
    ended: list[int] = []
    for first in range(0, len(ordered), BATCH_ROWS):
        if first:
            sleep(PAUSE_SECONDS)
        # Looked at first without a transaction: most passes change nothing, and SQLite has one writer at a time.
        telling = _telling(source, ordered[first : first + BATCH_ROWS], at)
        if not telling:
            continue
        batch = _Batch(source, at)
        with transaction.atomic():
            batch.write(telling)
        new += batch.new
        changed += batch.changed
        ended += batch.ended
    return IngestResult(tuple(new), tuple(changed), tuple(ended), skipped)


def finish_task(
    task: Task, observation: TaskObservation, *, at: datetime, tracker: Tracker | None = None
) -> bool:
    """Write the end of one task, with the evidence of its log (`tracker` has read it). False if nothing changed.

    `observation` of a single status never tells the end: then `at` stands in for it until a list corrects it.
    """
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        values = _ending(row, observation, at, tracker)
        return _write(row, values, at)


def add_evidence(task: Task, tracker: Tracker, *, at: datetime) -> bool:
    """What the whole log of an ended task adds: its error line, what a clone made, a better end of a lost one."""
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        if not row.is_final:
            return False
        values = _found_in_log(row, tracker)
        outcome = _outcome(row, row.exit_text, tracker) if row.exit_text else Outcome(State(row.state))
        if may_become(State(row.state), outcome.state):
            values |= {"state": outcome.state, "warnings": outcome.warnings}
        state = State(values.get("state", row.state))
        values["error_line"] = _error_line(row, Outcome(state, row.warnings), row.exit_text, tracker)
        values["percent"] = final_percent(row.percent, Outcome(state))
        return _write(row, values, at)


class _Batch:
    """One transaction's worth of observations, each UPID once."""

    def __init__(self, source: Source, at: datetime) -> None:
        self.source, self.at = source, at
        self.new: list[int] = []
        self.changed: list[int] = []
        self.ended: list[int] = []
        self._events = Events(source.pk, at)

    def write(self, observations: Sequence[TaskObservation]) -> None:
        rows = _rows_of(self.source, observations)
        self._insert([o for o in observations if o.remote_id not in rows])
        for observation in observations:
            row = rows.get(observation.remote_id)
            if row is not None and _changes(row, observation, self.at):
                self._update(row.pk, observation)
        self._events.save()

    def _insert(self, observations: list[TaskObservation]) -> None:
        if not observations:
            return
        vmids = {vmid for o in observations if (vmid := main_vmid(o.type, o.object_id)) is not None}
        names = dict(
            Guest.objects.filter(source=self.source, vmid__in=vmids).values_list("vmid", "name")
            if vmids
            else []
        )
        ids = [o.remote_id for o in observations]
        submissions = {
            s.remote_id: s for s in Submission.objects.filter(source=self.source, remote_id__in=ids)
        }
        persons = read_persons(self.source)
        empty = Task(source=self.source, seen_at=self.at, changed_at=self.at)
        # Another poller that has lost its lease may insert the same row at the same time: that one stays.
        insert_tasks(
            [self._row(empty, o, names, persons, submissions.get(o.remote_id)) for o in observations]
        )
        pks = dict(Task.objects.filter(source=self.source, remote_id__in=ids).values_list("remote_id", "pk"))
        for observation in observations:
            pk = pks[observation.remote_id]
            self.new.append(pk)
            if not self._is_past(observation):
                self._events.add(TaskEvent.Kind.NEW, pk)
        self._events.add(TaskEvent.Kind.NEW, self.new[-1])

    def _is_past(self, seen: TaskObservation) -> bool:
        """Whether it ended a while ago: of many such tasks pages are told of the last alone, and ask for the rest."""
        return seen.running is False and seen.ended_at is not None and self.at - seen.ended_at > TOLD_SINGLY

    def _row(
        self,
        empty: Task,
        seen: TaskObservation,
        names: dict[int, str],
        persons: Persons,
        submission: Submission | None,
    ) -> Task:
        row = like(empty)
        row.remote_id, row.node, row.type = seen.remote_id, seen.node, seen.type
        row.object_id, row.vmid = storable(seen.object_id), main_vmid(seen.type, seen.object_id)
        row.object_name = names.get(row.vmid, "") if row.vmid is not None else ""
        row.remote_user, row.remote_token = storable(seen.user), storable(seen.token)
        row.started_at = seen.started_at
        row.submission_id = submission.pk if submission else None
        row.person = submission.actor_name if submission else persons.of(row.remote_user, row.remote_token)
        if submission is not None and submission.new_vmid is not None:
            row.new_vmid = submission.new_vmid
            row.new_name = storable(str(submission.parameters.get("name", "")))[:400]
        if seen.running is False:
            for name, value in _ending(row, seen, self.at, None).items():
                setattr(row, name, value)
        else:
            row.raw = storable_json(seen.raw)
        row.search_text = search_text(row)
        return row

    def _update(self, pk: int, seen: TaskObservation) -> None:
        # Locked and read again: a person may have asked to cancel in this very moment.
        row = Task.objects.select_for_update().get(pk=pk)
        was_final = row.is_final
        if _write(row, _changes(row, seen, self.at), self.at, self._events):
            self.changed.append(pk)
            if row.is_final and not was_final:
                self.ended.append(pk)


def search_text(row: Task) -> str:
    """Lower case: what it does, UPID, node, who, names and error. Searched by parts of words."""
    token = f"!{row.remote_token}" if row.remote_token else ""
    words = [row.sentence, row.remote_id, row.node, row.remote_user + token, row.object_name, row.new_name]
    return " ".join(filter(None, [*words, row.exit_text, row.error_line])).lower()


def _complaint(seen: TaskObservation) -> str:
    """Why an observation cannot become a row; "" if it can."""
    for name, limit in _LIMITS.items():
        text = getattr(seen, name)
        if not isinstance(text, str) or len(text) > limit:
            return f"{name} has no text of at most {limit} characters"
    if len(seen.remote_id.encode("utf-8", "replace")) > _LIMITS["remote_id"]:
        return "the UPID is longer than any file name"  # PostgreSQL's unique index takes 2,704 bytes
    if "\0" in seen.remote_id + seen.node + seen.type:
        return "NUL in an identifier"
    if not isinstance(seen.started_at, datetime) or seen.started_at.tzinfo is None:
        return "no start time"
    try:
        parse_upid(seen.remote_id)
    except (InvalidUpid, ValueError, OverflowError, OSError) as error:
        return str(error)
    return ""


def _rows_of(source: Source, observations: Sequence[TaskObservation]) -> dict[str, Task]:
    ids = [o.remote_id for o in observations]
    rows = Task.objects.filter(source=source, remote_id__in=ids).defer("tracker_state", "search_text")
    return {row.remote_id: row for row in rows}


def _telling(source: Source, observations: Sequence[TaskObservation], at: datetime) -> list[TaskObservation]:
    """Observations of tasks that are new or change."""
    rows = _rows_of(source, observations)
    return [o for o in observations if o.remote_id not in rows or _changes(rows[o.remote_id], o, at)]


def _changes(row: Task, seen: TaskObservation, at: datetime) -> dict[str, Any]:
    """Fields that `seen` changes; empty when it tells nothing new."""
    if seen.running is False:
        return _ending(row, seen, at, None)
    if row.is_final:
        return {}  # lists show a dead worker as running for up to 10 s
    values: dict[str, Any] = {}
    if row.state == State.PENDING:
        values["state"] = State.PROCESSING
    if row.missing_count:
        values |= {"missing_count": 0, "missing_since": None}
    return values


def _ending(row: Task, seen: TaskObservation, at: datetime, tracker: Tracker | None) -> dict[str, Any]:
    """Fields of a task that is seen ended. A final state stays; the time of its end is corrected by a later answer."""
    exit_text = storable(seen.exit_text or "")
    outcome = _outcome(row, exit_text, tracker)
    values: dict[str, Any] = {}
    if row.pk is None or may_become(State(row.state), outcome.state):
        raw = storable_json(seen.raw)
        ended_at = seen.ended_at
        if ended_at is None:
            raw[_END_IS_ESTIMATED] = True
            ended_at = max(at, row.started_at)
        values = {
            "state": outcome.state,
            "warnings": outcome.warnings,
            "exit_text": exit_text,
            "ended_at": ended_at,
            "raw": raw,
            "percent": final_percent(row.percent, outcome),
            "bytes_per_second": None,
            "seconds_left": None,
            "missing_count": 0,
            "missing_since": None,
        }
        if outcome.state is State.COMPLETED or row.state == State.LOST:
            values["error_line"] = ""  # what looked like an error on the way, or a loss, was none
        if tracker is not None:
            values |= _found_in_log(row, tracker)
            values["percent"] = tracker.finish(outcome)
            values["error_line"] = _error_line(row, outcome, exit_text, tracker)
    elif row.is_final and seen.ended_at and (seen.ended_at != row.ended_at or row.raw.get(_END_IS_ESTIMATED)):
        values = {"ended_at": seen.ended_at, "raw": storable_json(seen.raw)}
    return values


def _outcome(row: Task, exit_text: str, tracker: Tracker | None) -> Outcome:
    return classify(
        exit_text,
        cancel_requested=row.cancel_requested_at is not None,
        last_line=tracker.last_line if tracker else "",
        error_line=tracker.error_line if tracker else row.error_line,
    )


def _error_line(row: Task, outcome: Outcome, exit_text: str, tracker: Tracker) -> str:
    if outcome.state is State.COMPLETED and not outcome.warnings:
        return ""
    return storable(tracker.error_for(exit_text)) or row.error_line


def _found_in_log(row: Task, tracker: Tracker) -> dict[str, Any]:
    """What a clone makes; the name is the one the log tells, else the guest's."""
    values: dict[str, Any] = {}
    if tracker.new_vmid is not None and row.new_vmid != tracker.new_vmid:
        guest = Guest.objects.filter(source=row.source_id, vmid=tracker.new_vmid).first()
        values = {"new_vmid": tracker.new_vmid, "new_name": guest.name if guest else ""}
    if tracker.new_name and not row.new_name:
        values["new_name"] = storable(tracker.new_name)[:400]
    return values


def _write(row: Task, values: dict[str, Any], at: datetime, events: Events | None = None) -> bool:
    """Save what differs, with an event when people would see it. The caller holds the row's lock."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return False
    for name, value in changed.items():
        setattr(row, name, value)
    row.search_text = search_text(row)
    row.changed_at = at
    row.save(update_fields=[*changed, "search_text", "changed_at"])
    only_a_sign = set(changed) <= {"missing_count", "missing_since"}
    own = events or Events(row.source_id, at)
    if not only_a_sign:
        own.add(TaskEvent.Kind.STATE, row.pk)
    if events is None:
        own.save()
    return True
