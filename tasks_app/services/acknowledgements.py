"""Saying that a failed task was seen, so that it no longer asks for attention."""

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
