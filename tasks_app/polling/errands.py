"""What waits for a job: found by the watch loop every few seconds, so that django-q2's slow clock delays nobody."""

from datetime import datetime

from tasks_app.models import Machine, Source, Submission, Task
from tasks_app.queue import Job, enqueue


def enqueue_errands(at: datetime) -> None:
    """Enqueue one job of each kind that has something to do.

    `pick_up`: a submission or a cancel is due and in nobody's hands, a task of one has ended, or a machine is being
    deleted. `pump`: machines are in the making. `look_for_addresses`: new guests are to be asked.
    """
    if (
        Submission.objects.deliverable(at).exists()
        or Submission.objects.settleable().exists()
        or Task.objects.cancels_waiting().filter(source__paused_at__isnull=True).exists()
        or Machine.objects.being_deleted(at).exists()
    ):
        enqueue(Job.PICK_UP)
    if Machine.objects.calling(at).exists() or Machine.objects.startable().exists():
        enqueue(Job.PUMP)
    if Machine.objects.without_address(at).exists():
        enqueue(Job.LOOK_FOR_ADDRESSES)


def enqueue_follow_up(source: Source) -> None:
    """At once when a pass has seen the end of what a machine in the making waits for: the next clone may start."""
    if Submission.objects.settleable().filter(source=source, machine__isnull=False).exists():
        enqueue(Job.PUMP)
