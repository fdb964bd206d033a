"""Logs of tasks: lines while they run, compressed chunks when they have ended, and one way to read both."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from django.db import transaction

from tasks_app.ingest.events import Events
from tasks_app.ingest.tasks import BATCH_ROWS, PAUSE_SECONDS
from tasks_app.ingest.text import storable
from tasks_app.models import Guest, LogChunk, LogLine, Task, TaskEvent, TaskLog
from tasks_app.progress.tracker import Tracker
from tasks_app.sources.base import RemoteLogLine

logger = logging.getLogger(__name__)

MAX_LINES = 200_000
"""Lines kept of one task: a mirror of a day writes 86,400."""
MAX_CHARACTERS = 32 * 1024 * 1024
"""Characters kept of one task."""
PARTIAL_NOTE = "Only the beginning of this very long log is kept."

_BIGGEST = 2**63 - 1
_KEPT = "kept_characters"  # beside the tracker's own keys


@dataclass(frozen=True, slots=True)
class Appended:
    """`lines` new or rewritten ones. `is_full` when no more will be kept."""

    lines: int
    is_full: bool = False


def tracker_of(task: Task, *, disk_bytes: Mapping[str, int] | None = None) -> Tracker:
    """The tracker as it stood before the last known line, which may have been incomplete.

    A state that does not fit what is stored (an older version wrote it) is rebuilt from the lines.
    """
    tracker = Tracker.from_state(task.tracker_state)
    settled = max(0, task.log_total - 1)
    if tracker.type == task.type and tracker.lines == settled:
        return tracker
    tracker = Tracker(task.type, disk_bytes=disk_bytes or task.tracker_state.get("disk_bytes") or {})
    if settled:
        for _, text in read_lines(task, 0, settled):
            tracker.feed(_one_line(text))
    return tracker


def store_disk_bytes(task: Task, disk_bytes: Mapping[str, int]) -> None:
    """Keep the sizes of the disks a task copies; its tracker is then rebuilt with them from the stored lines."""
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        if not row.is_final:
            kept = row.tracker_state.get(_KEPT, 0)
            row.tracker_state = {"disk_bytes": dict(disk_bytes), _KEPT: kept}
            row.save(update_fields=["tracker_state"])


def append_lines(task: Task, lines: Sequence[RemoteLogLine], *, at: datetime) -> Appended:
    """Add lines of a running task and read progress from them; the last known line may come again, longer.

    Lines that would leave a gap are refused, known ones skipped. One log and one progress event at most.
    """
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        fresh = _continuing(lines, row.log_total)
        if row.is_final or not fresh:
            return Appended(0)
        last = LogLine.objects.filter(task=row, number=row.log_total).first()
        texts = [(line.number, storable(line.text)) for line in fresh]
        if last is not None and texts[0][0] > last.number:
            texts.insert(0, (last.number, last.text))
        if last is not None and len(texts) == 1 and texts[0][1] == last.text:
            return Appended(0)
        kept = int(row.tracker_state.get(_KEPT, 0))
        texts, kept, is_full = _within_limits(texts, kept, row.log_total, MAX_CHARACTERS)
        added = _write_lines(row, texts, last, at)
        events = Events(row.source_id, at)
        if added:
            events.add(TaskEvent.Kind.LOG, row.pk)
        if texts and _follow(row, texts, last, at, kept):
            events.add(TaskEvent.Kind.PROGRESS, row.pk)
        events.save()
    return Appended(added, is_full)


def store_final_log(
    task: Task,
    lines: Sequence[RemoteLogLine],
    *,
    complete: bool,
    note: str = "",
    at: datetime,
    most_characters: int = MAX_CHARACTERS,
    partial_note: str = PARTIAL_NOTE,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Compress the log of an ended task: what is stored already, then `lines`. Returns the lines kept in all.

    Call again with the lines that follow while the log is not `complete` and has no `note` (which says why it never
    will be). Afterwards the single lines are removed. What goes beyond `most_characters` is left out, and the log is
    labelled with `partial_note`.
    """
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        log, is_new = TaskLog.objects.get_or_create(task=row, defaults={"stored_at": at})
        if not is_new and (log.is_complete or log.note):
            return log.lines
        if is_new:
            stored = dict(LogLine.objects.filter(task=row).order_by("number").values_list("number", "text"))
        else:
            stored = {}
        fresh = _continuing(lines, log.lines or len(stored))
        stored |= {line.number: storable(line.text) for line in fresh if line.number > log.lines}
        kept = 0 if is_new else int(row.tracker_state.get(_KEPT, 0))
        texts, kept, is_full = _within_limits(sorted(stored.items()), kept, log.lines, most_characters)
        _write_chunks(log, [text for _, text in texts])
        log.is_complete = complete and not is_full
        log.note = partial_note if is_full else storable(note)[:300]
        log.stored_at = at
        log.save()
        is_closed = log.is_complete or bool(log.note)
        row.tracker_state = {} if is_closed else {_KEPT: kept}
        has_more = log.lines != row.log_total or (is_new and bool(fresh))
        row.log_total = log.lines
        row.save(update_fields=["tracker_state", "log_total"])
        if has_more or is_closed:
            events = Events(row.source_id, at)
            events.add(TaskEvent.Kind.LOG, row.pk)
            events.save()
    remove_single_lines(task.pk, sleep=sleep)
    return log.lines


def drop_log(task: Task, *, note: str, at: datetime, sleep: Callable[[float], None] = time.sleep) -> None:
    """Keep nothing of the log of an ended task but the `note` that says why. One that is stored to its end stays."""
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        log, _ = TaskLog.objects.get_or_create(task=row, defaults={"stored_at": at})
        if log.is_complete or log.note:
            return
        log.chunks.all().delete()
        log.lines, log.note, log.stored_at = 0, storable(note)[:300], at
        log.save(update_fields=["lines", "note", "stored_at"])
        row.tracker_state, row.log_total = {}, 0
        row.save(update_fields=["tracker_state", "log_total"])
        events = Events(row.source_id, at)
        events.add(TaskEvent.Kind.LOG, row.pk)
        events.save()
    remove_single_lines(task.pk, sleep=sleep)


def remove_single_lines(task_pk: int, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete the single lines of a task whose log is stored compressed; in batches, without holding up others."""
    while True:
        pks = list(LogLine.objects.filter(task=task_pk).values_list("pk", flat=True)[: BATCH_ROWS * 4])
        if not pks:
            return
        LogLine.objects.filter(pk__in=pks).delete()
        sleep(PAUSE_SECONDS)


def read_lines(task: Task, after: int, limit: int) -> list[tuple[int, str]]:
    """(number, text) above `after`, oldest first, at most `limit`; the same for running and ended tasks."""
    after, limit = max(0, after), max(0, limit)
    single = LogLine.objects.filter(task=task, number__gt=after).order_by("number")
    # Single lines first: they are removed only after the chunks have been written.
    lines = list(single.values_list("number", "text")[:limit])
    log = TaskLog.objects.filter(task=task).first()
    if log is None:
        return lines
    chunks = LogChunk.objects.filter(log=log)
    start = (
        chunks.filter(first__lte=after + 1).order_by("-first").values_list("first", flat=True).first() or 0
    )
    found: list[tuple[int, str]] = []
    for chunk in chunks.filter(first__gte=start, first__lte=after + limit).order_by("first"):
        numbered = enumerate(chunk.unpack(), chunk.first)
        found += [(number, text) for number, text in numbered if number > after]
        if len(found) >= limit:
            break
    return found[:limit]


def _one_line(text: str) -> str:
    """The tracker counts line feeds; a line of the remote is one line whatever it holds."""
    return text.replace("\n", "\r")


def _continuing(lines: Sequence[RemoteLogLine], known: int) -> list[RemoteLogLine]:
    """Those from the last known line on, as far as they have no gap."""
    wanted: list[RemoteLogLine] = []
    for line in lines:
        if line.number < max(known, 1):
            continue
        expected = wanted[-1].number + 1 if wanted else None
        if (expected is None and line.number > known + 1) or (
            expected is not None and line.number != expected
        ):
            logger.warning("log lines refused for a gap known=%d number=%d", known, line.number)
            break
        wanted.append(line)
    return wanted


def _within_limits(
    texts: list[tuple[int, str]], kept: int, known: int, most_characters: int
) -> tuple[list[tuple[int, str]], int, bool]:
    """What may be stored of `texts`, the characters then kept, and whether something had to go."""
    allowed: list[tuple[int, str]] = []
    for number, text in texts:
        grown = kept + (len(text) if number > known else 0)
        if number > MAX_LINES or grown > most_characters:
            return allowed, kept, True
        kept = grown
        allowed.append((number, text))
    return allowed, kept, False


def _write_lines(row: Task, texts: list[tuple[int, str]], last: LogLine | None, at: datetime) -> int:
    new = [(number, text) for number, text in texts if last is None or number > last.number]
    LogLine.objects.bulk_create(
        [LogLine(task=row, number=number, text=text, seen_at=at) for number, text in new],
        batch_size=BATCH_ROWS,
    )
    changed = 0
    if last is not None and texts and texts[0] != (last.number, last.text):
        changed = LogLine.objects.filter(pk=last.pk).update(text=texts[0][1], seen_at=at)
    return len(new) + changed


def _write_chunks(log: TaskLog, texts: list[str]) -> None:
    for first in range(0, len(texts), LogChunk.LINES):
        part = texts[first : first + LogChunk.LINES]
        LogChunk.objects.create(log=log, first=log.lines + 1, data=LogChunk.pack(part))
        log.lines += len(part)


def _follow(row: Task, texts: list[tuple[int, str]], last: LogLine | None, at: datetime, kept: int) -> bool:
    """Feed the tracker all but the last line, show what the last one adds. True when the progress moved."""
    disk_bytes = row.tracker_state.get("disk_bytes")
    base = tracker_of(row)
    for number, text in texts[:-1]:
        seen_at = last.seen_at if last is not None and (number, text) == (last.number, last.text) else at
        base.feed(_one_line(text), at=seen_at.timestamp())
    shown = Tracker.from_state(base.to_state())
    shown.feed(_one_line(texts[-1][1]), at=at.timestamp())
    row.log_total = texts[-1][0]
    row.tracker_state = base.to_state() | {_KEPT: kept} | ({"disk_bytes": disk_bytes} if disk_bytes else {})
    values = _progress(row, shown)
    moved = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in moved.items():
        setattr(row, name, value)
    row.save(update_fields=["log_total", "tracker_state", *moved])
    return bool(moved)


def _progress(row: Task, tracker: Tracker) -> dict[str, Any]:
    values: dict[str, Any] = {
        "percent": tracker.percent,
        "step": storable(tracker.step)[:200],
        "bytes_done": _count(tracker.bytes_done),
        "bytes_total": _count(tracker.bytes_total),
        "bytes_per_second": _finite(tracker.rate_bytes_per_second),
        "seconds_left": _finite(tracker.seconds_left),
        "error_line": storable(tracker.error_line),
    }
    if tracker.new_vmid is not None and row.new_vmid != tracker.new_vmid:
        guest = Guest.objects.filter(source=row.source_id, vmid=tracker.new_vmid).first()
        values |= {"new_vmid": tracker.new_vmid, "new_name": guest.name if guest else row.new_name}
    if tracker.new_name and not row.new_name:
        values["new_name"] = storable(tracker.new_name)[:400]
    return values


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _BIGGEST else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
