"""Keeps the logs of many ended tasks at once, of which nothing was stored: a few statements instead of thousands."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Case, PositiveIntegerField, Value, When

from tasks_app.ingest.events import Events
from tasks_app.ingest.logs import MAX_LINES
from tasks_app.ingest.text import storable
from tasks_app.models import LogChunk, LogLine, Source, Task, TaskEvent, TaskLog


def store_whole_logs(source: Source, logs: Mapping[int, Sequence[str]], *, at: datetime) -> int:
    """Keep `logs`, all lines by task; how many were stored. One transaction.

    Left alone are tasks that run, are gone, or have lines stored already: these go on by `store_final_log`.
    """
    assert all(len(lines) <= MAX_LINES for lines in logs.values())
    with transaction.atomic():
        rows = (
            Task.objects.select_for_update().filter(pk__in=list(logs), source=source, log_total=0).finished()
        )
        begun = set(LogLine.objects.filter(task__in=list(logs)).values_list("task_id", flat=True))
        known = set(TaskLog.objects.filter(task__in=list(logs)).values_list("task_id", flat=True))
        pks = sorted(set(rows.values_list("pk", flat=True)) - begun - known)
        if not pks:
            return 0
        TaskLog.objects.bulk_create(
            TaskLog(task_id=pk, lines=len(logs[pk]), is_complete=True, stored_at=at) for pk in pks
        )
        stored = dict(TaskLog.objects.filter(task__in=pks).values_list("task_id", "pk"))
        LogChunk.objects.bulk_create(
            LogChunk(log_id=stored[pk], first=first + 1, data=LogChunk.pack(part))
            for pk in pks
            for first, part in _parts(logs[pk])
        )
        totals = [When(pk=pk, then=Value(len(logs[pk]))) for pk in pks]
        Task.objects.filter(pk__in=pks).update(log_total=Case(*totals, output_field=PositiveIntegerField()))
        events = Events(source.pk, at)
        for pk in pks:
            events.add(TaskEvent.Kind.LOG, pk)
        events.save()
    return len(pks)


def _parts(lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """(lines before it, its lines) of each chunk."""
    return [
        (first, [storable(line) for line in lines[first : first + LogChunk.LINES]])
        for first in range(0, len(lines), LogChunk.LINES)
    ]
