"""The end of tasks: single states of those that vanished, the rest of their logs, and logs that are still missing."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tasks_app.ingest import logs, signs, tasks
from tasks_app.ingest.log_keeping import NOT_KEPT_NOTE, is_foreign, read_log_keeping
from tasks_app.models import Task, TaskLog
from tasks_app.polling import cadence
from tasks_app.polling.visit import Visit
from tasks_app.progress.tracker import Tracker
from tasks_app.sources.base import RemoteLogLine, TaskObservation
from tasks_app.sources.errors import SourceRefused
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)

_MAKE_GUESTS = frozenset({"qmclone", "vzclone"})  # what they made stands in their logs only
# Exit texts whose meaning only the log tells; see progress.outcome.
_AMBIGUOUS = frozenset({"", "unknown", "unexpected status", "migration aborted", "migration problems"})


@dataclass(frozen=True, slots=True)
class LogRest:
    """The lines of an ended task that were not known. `tail` are its last lines when there are more in between.

    `is_complete`: nothing more is to be read, be it that these are all, or that no more are kept.
    """

    lines: tuple[RemoteLogLine, ...]
    is_complete: bool
    note: str = ""
    tail: tuple[RemoteLogLine, ...] = ()


def needs_log(seen: TaskObservation) -> bool:
    """Whether the end of a task can only be judged together with its log."""
    return seen.running is False and (seen.exit_text or "").strip() in _AMBIGUOUS


def check_vanished(visit: Visit, vanished: Iterable[Task]) -> list[tuple[Task, TaskObservation]]:
    """Ask for each running task that no list shows any more; returns those that have ended, without end times.

    A task the source does not know is missing, after several misses lost. Any failed request changes nothing.
    """
    ended = []
    for task in _due(visit, vanished)[: cadence.STATUS_PER_PASS]:
        if visit.should_stop():
            break
        visit.memory.checked_at[task.pk] = visit.clock()
        try:
            seen = visit.ask_node(task.node, partial(visit.remote.fetch_task, task.node, task.remote_id))
        except SourceRefused as error:
            if error.kind == "not_found":
                visit.memory.missed.add(task.pk)
                if signs.record_miss(task, at=visit.clock()):
                    logger.info("task lost source=%s upid=%s", visit.source.name, task.remote_id)
            continue
        if seen is None or seen.remote_id != task.remote_id:
            continue
        if task.pk in visit.memory.missed or task.missing_count:
            visit.memory.missed.discard(task.pk)
            signs.record_found(task)
        if seen.running is False:
            ended.append((task, seen))
    return ended


def finish(visit: Visit, ended: list[tuple[Task, TaskObservation]]) -> int:
    """Write the ends that need their log. Returns how many were left for the next pass."""
    for done, (task, seen) in enumerate(ended):
        if visit.should_stop() or done >= cadence.ENDED_PER_PASS:
            return len(ended) - done
        task = Task.objects.get(pk=task.pk)
        if seen.ended_at is None:
            until = visit.clock() + cadence.UNSURE
            visit.memory.unsure[task.remote_id] = (task.node, int(task.started_at.timestamp()), until)
        rest = read_rest(visit, task)
        if rest is None:
            # The state is known and must not wait for a log that cannot be had now.
            tasks.finish_task(task, seen, at=visit.clock())
            visit.memory.unread[task.pk] = 1
            continue
        tasks.finish_task(task, seen, at=visit.clock(), tracker=_fed(task, rest, visit.clock()))
        _store(visit, task, rest)
    return 0


def read_logs_of_ended(visit: Visit) -> None:
    """Read the logs of tasks that have ended, just ended ones first; then never again."""
    for pk in list(visit.memory.unread)[: cadence.ENDED_PER_PASS]:
        if visit.should_stop():
            return
        tries = visit.memory.unread.pop(pk)
        if not _read_ended(visit, pk) and tries + 1 < cadence.ENDED_TRIES:
            visit.memory.unread[pk] = tries + 1


def read_backlog(visit: Visit, *, is_active: bool) -> None:
    """Fetch logs of older tasks, newest first, a few in a pass, fewer while something runs."""
    memory, at = visit.memory, visit.clock()
    for pk in _watched_without_log(visit, at):
        if not visit.should_stop():
            _read_ended(visit, pk)
    if is_active and memory.backlog_read_at and at - memory.backlog_read_at < cadence.BACKLOG_BUSY:
        return
    if not memory.backlog:
        _search_backlog(visit, at)
    for _ in range(1 if is_active else cadence.BACKLOG_IDLE_PER_PASS):
        if not memory.backlog or visit.should_stop():
            return
        memory.backlog_read_at = at
        _read_ended(visit, memory.backlog.pop(0))


def read_rest(visit: Visit, task: Task) -> LogRest | None:
    """What the remote has beyond what we have, as far as it is kept; None when it could not be read now."""
    log = TaskLog.objects.filter(task=task).first()
    # The last line of a running task may have been incomplete: it is read once more.
    after = log.lines if log else max(0, task.log_total - 1)
    lines: list[RemoteLogLine] = []
    total = characters = 0
    most = read_log_keeping(visit.source.settings).characters
    fetch = partial(visit.remote.fetch_log, task.node, task.remote_id)
    try:
        for _ in range(cadence.ENDED_PAGES):
            page = visit.ask_node(task.node, partial(fetch, after=after, limit=cadence.LOG_LINES))
            if page is None:
                return None
            if page.missing:
                return LogRest(tuple(lines), False, f"The node no longer has this log ({page.missing}).")
            lines += page.lines
            characters += sum(len(line.text) for line in page.lines)
            after, total = (page.lines[-1].number if page.lines else after), page.total
            if not page.lines or after >= total:
                return LogRest(tuple(lines), True)
            if after > logs.MAX_LINES or characters > most:
                break
        tail = visit.ask_node(task.node, partial(fetch, after=max(after, total - 100), limit=100))
    except SourceRefused as error:
        return LogRest(tuple(lines), False, f"The source does not give this log: {error}"[:300])
    is_enough = after > logs.MAX_LINES or characters > most
    return LogRest(tuple(lines), is_enough, tail=tail.lines if tail else ())


def _due(visit: Visit, vanished: Iterable[Task]) -> list[Task]:
    """Those not asked for a moment ago, longest not asked first."""
    memory, at = visit.memory, visit.clock()

    def is_due(task: Task) -> bool:
        last = memory.checked_at.get(task.pk)
        again = cadence.MISS_AGAIN if task.pk in memory.missed else cadence.STATUS_AGAIN
        return last is None or at - last >= again

    never = datetime.min.replace(tzinfo=at.tzinfo)
    return sorted(filter(is_due, vanished), key=lambda t: (memory.checked_at.get(t.pk, never), t.pk))


def _read_ended(visit: Visit, pk: int) -> bool:
    """Read, judge and store one log, or a good part of it. False when it could not be read now."""
    task = Task.objects.filter(pk=pk).first()
    log = TaskLog.objects.filter(task=pk).first()
    if task is None or not task.is_final or (log and (log.is_complete or log.note)):
        return True
    if not _keeps_log(visit, task) and task.state == State.COMPLETED and task.type not in _MAKE_GUESTS:
        logs.drop_log(task, note=NOT_KEPT_NOTE, at=visit.clock(), sleep=visit.sleep)
        return True
    rest = read_rest(visit, task)
    if rest is None:
        return False
    tasks.add_evidence(task, _fed(task, rest, visit.clock()), at=visit.clock())
    _store(visit, task, rest)
    return True


def _keeps_log(visit: Visit, task: Task) -> bool:
    return read_log_keeping(visit.source.settings).keeps_foreign or not is_foreign(task, visit.source)


def _store(visit: Visit, task: Task, rest: LogRest) -> None:
    """Keep what was read, as far as the source is set up so. What it tells about the end has been taken before."""
    if not _keeps_log(visit, task):
        logs.drop_log(task, note=NOT_KEPT_NOTE, at=visit.clock(), sleep=visit.sleep)
        return
    keeping = read_log_keeping(visit.source.settings)
    logs.store_final_log(
        task,
        rest.lines,
        complete=rest.is_complete,
        note=rest.note,
        at=visit.clock(),
        most_characters=keeping.characters,
        partial_note=keeping.partial_note,
        sleep=visit.sleep,
    )
    if not rest.is_complete and not rest.note:
        visit.memory.unread[task.pk] = 0  # goes on in the next pass


def _fed(task: Task, rest: LogRest, at: datetime) -> Tracker:
    tracker = logs.tracker_of(task)
    for line in (*rest.lines, *rest.tail):
        tracker.feed(line.text.replace("\n", "\r"), at=at.timestamp())
    return tracker


def _watched_without_log(visit: Visit, at: datetime) -> list[int]:
    """Ended tasks whose page somebody has open while their log has never been read: these come first."""
    watched = Task.objects.filter(source=visit.source).finished().watched(at).filter(log__isnull=True)
    return list(watched.values_list("pk", flat=True)[: cadence.BACKLOG_IDLE_PER_PASS])


def _search_backlog(visit: Visit, at: datetime) -> None:
    """Look through one more window of the newest tasks for ended ones whose log was never read."""
    memory = visit.memory
    if memory.backlog_at is None or at - memory.backlog_at >= cadence.BACKLOG_AGAIN:
        memory.backlog_at, memory.backlog_below, memory.backlog_seen = at, None, 0
    elif memory.backlog_below == 0:
        return
    window = Task.objects.filter(source=visit.source).order_by("-pk")
    if memory.backlog_below is not None:
        window = window.filter(pk__lt=memory.backlog_below)
    rows = list(window.values_list("pk", "state", "log__is_complete", "log__note")[: cadence.BACKLOG_WINDOW])
    memory.backlog = [
        pk
        for pk, state, is_complete, note in rows
        if state in FINAL_STATES and not is_complete and not note and pk not in memory.unread
    ]
    memory.backlog_seen += len(rows)
    is_done = len(rows) < cadence.BACKLOG_WINDOW or memory.backlog_seen >= cadence.BACKLOG_ROWS
    memory.backlog_below = 0 if is_done else rows[-1][0]
