"""Signs beside the state of a task: missing at the source, overdue. Only `lost` ever comes of one."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from tasks_app.ingest.events import Events
from tasks_app.ingest.limits import limit_seconds
from tasks_app.models import Source, Task, TaskEvent
from tasks_app.states import State

LOST_AFTER_MISSES = 3
"""One miss may be a node that has just started, two a coincidence."""
LOST_AFTER = timedelta(minutes=2)
"""Longer than a restart of the node's services, after which tasks are found again."""
LOST_NOTE = "The source no longer knows this task."


def record_miss(task: Task, *, at: datetime) -> bool:
    """The source answered and does not know `task`. True when that has made it lost."""
    with transaction.atomic():
        mine = Task.objects.unfinished().filter(pk=task.pk)
        mine.update(
            missing_count=F("missing_count") + 1,
            missing_since=Coalesce(F("missing_since"), Value(at)),
        )
        is_lost = mine.filter(
            missing_count__gte=LOST_AFTER_MISSES, missing_since__lte=at - LOST_AFTER
        ).update(state=State.LOST, exit_text="", error_line=LOST_NOTE, changed_at=at, seconds_left=None)
        if is_lost:
            events = Events(task.source_id, at)
            events.add(TaskEvent.Kind.STATE, task.pk)
            events.save()
    return bool(is_lost)


def record_found(task: Task) -> None:
    """The source knows `task` again."""
    Task.objects.filter(pk=task.pk, missing_count__gt=0).update(missing_count=0, missing_since=None)


def mark_overdue(source: Source, tasks: list[Task], *, at: datetime) -> int:
    """Note which of the open `tasks` run longer than their kind usually may. A sign, never an end."""
    late = [
        t.pk
        for t in tasks
        if t.overdue_since is None and at - t.started_at > timedelta(seconds=limit_seconds(t.type))
    ]
    if not late:
        return 0
    with transaction.atomic():
        events = Events(source.pk, at)
        for pk in late:
            if Task.objects.unfinished().filter(pk=pk, overdue_since__isnull=True).update(overdue_since=at):
                events.add(TaskEvent.Kind.STATE, pk)
        events.save()
    return len(late)
