"""Stopping the overdue steps of machines whose catalogue item says so. For all others overdue is a sign only."""

from tasks_app.models import Submission
from tasks_app.models.machine import CALLING
from tasks_app.services.cancel_wishes import ask_to_stop


def stop_overdue() -> None:
    """Asks once for each task; how it ends is seen as ever, and then the machine fails with that reason."""
    late = Submission.objects.unfinished().filter(
        overdue_since__isnull=False, machine__item__cancels_overdue=True, step__in=CALLING
    )
    for submission in late:
        for task in submission.tasks.all():
            ask_to_stop(task, None)
