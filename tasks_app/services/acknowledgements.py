"""Saying that a failed task was seen, so that it no longer asks for attention."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import Refused
from tasks_app.models import Task, TaskEvent


@transaction.atomic
def acknowledge_task(task: Task, *, actor: User | None, note: str = "") -> None:
    """Note that `actor` has seen the failure; None is the portal itself. Asking again changes nothing.

    Raises NotPermitted, and Refused for a task that neither failed nor has an unknown end.
    """
    if actor is not None:
        require(actor, Verb.ACKNOWLEDGE, task.source)
    note = note.strip()
    waiting = Task.objects.unacknowledged_failures().filter(pk=task.pk)
    if not waiting.update(acknowledged_at=now(), acknowledged_by=actor, acknowledged_note=note):
        task.refresh_from_db(fields=["state", "acknowledged_at"])
        if task.acknowledged_at is not None:
            return
        raise Refused(f"{task} has not failed: there is nothing to acknowledge.")
    record(Action.TASK_ACKNOWLEDGE, actor=actor, target=task, note=note, upid=task.remote_id)
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=TaskEvent.Kind.STATE)


@transaction.atomic
def acknowledge_tasks(tasks: Iterable[Task], *, actor: User, note: str = "") -> int:
    """The same of many, all or none; how many. What somebody else has acknowledged or ended meanwhile is left as it is.

    Raises NotPermitted.
    """
    rows = list(tasks)
    for source in {task.source_id: task.source for task in rows}.values():
        require(actor, Verb.ACKNOWLEDGE, source)
    waiting = Task.objects.unacknowledged_failures().filter(pk__in=[task.pk for task in rows])
    still = set(waiting.values_list("pk", flat=True))
    for task in rows:
        if task.pk in still:
            acknowledge_task(task, actor=actor, note=note)
    return len(still)
