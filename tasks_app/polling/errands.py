"""What waits for a job: found by the watch loop every few seconds, so that django-q2's slow clock delays nobody."""

from datetime import datetime, timedelta

from django.db.models import QuerySet

from tasks_app.audit import shipping
from tasks_app.models import Asset, Generation, Machine, Source, Submission, Task
from tasks_app.queue import COPIES_AT_ONCE, Job, enqueue

COPY_AGAIN = timedelta(seconds=30)
"""A message that nobody has taken is not repeated sooner, so that slow copies do not fill the queue."""

_sent: dict[int, datetime] = {}  # results for which this process has enqueued a job, and when


def enqueue_errands(at: datetime) -> None:
    """Enqueue one job of each kind that has something to do.

    `pick_up`: a submission or a cancel is due and in nobody's hands, a task of one has ended, or a machine is being
    deleted, or a generation is past its own deadline. `pump`: machines are in the making. `look_for_addresses`: new
    guests are to be asked. `dispatch`: generations wait for a place or for what became of their call. `copy_result`:
    results are to be copied. `ship_audit`: the syslog server lacks entries.
    """
    if (
        Submission.objects.deliverable(at).exists()
        or Submission.objects.settleable().exists()
        or Task.objects.cancels_waiting().filter(source__paused_at__isnull=True).exists()
        or Machine.objects.being_deleted(at).exists()
        or _has_overdue_generations(at)
    ):
        enqueue(Job.PICK_UP)
    if Machine.objects.calling(at).exists() or Machine.objects.startable().exists():
        enqueue(Job.PUMP)
    if Machine.objects.without_address(at).exists():
        enqueue(Job.LOOK_FOR_ADDRESSES)
    if shipping.is_due(at):
        enqueue(Job.SHIP_AUDIT)
    _enqueue_dispatch(at)
    _enqueue_copies(Asset.objects.due(at), at)


def enqueue_follow_up(source: Source) -> None:
    """At once when a pass has seen the end of what a machine in the making waits for: the next clone may start."""
    if Submission.objects.settleable().filter(source=source, machine__isnull=False).exists():
        enqueue(Job.PUMP)


def enqueue_generation_follow_up(source: Source, at: datetime) -> None:
    """At once when a pass has seen the end of a task: its place is free, its results wait."""
    _enqueue_dispatch(at)
    _enqueue_copies(Asset.objects.due(at).filter(generation__task__source=source), at)


def _enqueue_dispatch(at: datetime) -> None:
    if Generation.objects.startable(at).exists() or Generation.objects.deliverable(at).exists():
        enqueue(Job.DISPATCH)


def _enqueue_copies(due: QuerySet[Asset], at: datetime) -> None:
    """As many as there is room for. What has been taken, has ended or was put off makes room for the next at once."""
    if _sent:
        waiting = set(Asset.objects.due(at).filter(pk__in=list(_sent)).values_list("pk", flat=True))
        for pk in [pk for pk, sent_at in _sent.items() if pk not in waiting or at - sent_at >= COPY_AGAIN]:
            del _sent[pk]
    fresh = due.exclude(pk__in=list(_sent)).order_by("next_attempt_at").values_list("pk", flat=True)
    pks = list(fresh[:COPIES_AT_ONCE])
    room = COPIES_AT_ONCE - len(_sent) - (Asset.objects.under_way(at).count() if pks else 0)
    for pk in pks[: max(0, room)]:
        _sent[pk] = at
        enqueue(Job.COPY_RESULT, pk)


def _has_overdue_generations(at: datetime) -> bool:
    late = Generation.objects.unfinished().filter(cancel_at__lte=at)
    return late.filter(task__cancel_requested_at__isnull=True).exists()
