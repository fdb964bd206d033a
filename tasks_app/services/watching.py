"""Telling the poller that somebody has a task's page open, so that its log is read first and often."""

from datetime import timedelta

from django.db.models import Q
from django.utils.timezone import now

from tasks_app.models import Task

WATCHED_SECONDS = 30
"""How long one call counts. Pages call again long before; a closed browser is forgotten this soon."""
RENEW_BELOW_SECONDS = 15
"""Calls that come earlier write nothing: many viewers of one task cost one write in 15 s."""


def watch_task(task: Task) -> None:
    """Somebody looks at `task`. Needs no permission beyond having been shown it; leaves no audit entry."""
    at = now()
    soon = at + timedelta(seconds=RENEW_BELOW_SECONDS)
    runs_out = (
        Task.objects.unfinished()
        .filter(pk=task.pk)
        .filter(Q(watched_until__isnull=True) | Q(watched_until__lt=soon))
    )
    runs_out.update(watched_until=at + timedelta(seconds=WATCHED_SECONDS))
