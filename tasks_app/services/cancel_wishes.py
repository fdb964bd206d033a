"""The wish that a task stops, as it stands in its row: noted, claimed for delivery, answered.

While `cancel_requested_at` is set and `cancel_note` is empty, something remains to be done. `cancel_delivered_at` is
written before the call and claims it; it is renewed while its job lives. `cancel_error` beside a request is the last
failed attempt (it will be tried again), without a request it is the source's refusal. The final state itself is
written by `ingest` alone.
"""

from datetime import datetime, timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from tasks_app.models import Task, TaskEvent
from tasks_app.queue import Job, enqueue
from tasks_app.services.claims import CLAIM_SECONDS

TOO_LATE = "It finished before the cancel arrived."
ENDED_BY_ITSELF = "It had ended by itself before the cancel arrived."


@transaction.atomic
def ask_to_stop(task: Task, asked_by: User | None) -> bool:
    """Note the wish and enqueue its delivery; False when it was asked before, or the task has ended.

    For a deed that has asked for permission and keeps its own entry: the cancel of an order or of a machine.
    """
    not_asked = Task.objects.unfinished().filter(pk=task.pk, cancel_requested_at__isnull=True)
    asked = not_asked.update(
        cancel_requested_at=now(),
        cancel_requested_by=asked_by,
        cancel_delivered_at=None,
        cancel_error="",
        cancel_note="",
    )
    if not asked:
        return False
    announce(task)
    transaction.on_commit(partial(enqueue, Job.CANCEL, task.pk))
    return True


def undelivered(at: datetime) -> "QuerySet[Task]":
    """Wishes that nobody delivers at the moment."""
    unclaimed = Q(cancel_delivered_at__isnull=True) | Q(
        cancel_delivered_at__lt=at - timedelta(seconds=CLAIM_SECONDS)
    )
    return Task.objects.cancels_waiting().filter(unclaimed)


def claim(task: Task) -> bool:
    """Take the delivery; `task` keeps what stood there before: a time means that a worker was killed at it."""
    at = now()
    return undelivered(at).filter(pk=task.pk).update(cancel_delivered_at=at) == 1


def renew(task_pk: int) -> None:
    claimed = Task.objects.cancels_waiting().filter(pk=task_pk, cancel_delivered_at__isnull=False)
    claimed.update(cancel_delivered_at=now())


@transaction.atomic
def note(task: Task, **changes: object) -> None:
    """Write what came of it, and tell the pages."""
    if Task.objects.filter(pk=task.pk).update(**changes):
        announce(task)


def announce(task: Task) -> None:
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=TaskEvent.Kind.STATE)
