"""What waits for a job: found by the watch loop every few seconds, so that django-q2's slow clock delays nobody."""

from datetime import datetime

from tasks_app.models import Machine, Submission, Task
from tasks_app.queue import Job, enqueue


def enqueue_errands(at: datetime) -> None:
    """Enqueue one `pick_up` when a submission or a cancel is due and in nobody's hands, a task of one has ended,
    or a machine is being deleted."""
    if (
        Submission.objects.deliverable(at).exists()
        or Submission.objects.settleable().exists()
        or Task.objects.cancels_waiting().filter(source__paused_at__isnull=True).exists()
        or Machine.objects.being_deleted(at).exists()
    ):
        enqueue(Job.PICK_UP)
