"""The only door to django-q2. A *job* is what our own workers run; it takes numbers and words, never objects."""

from enum import StrEnum

from django_q.tasks import async_task


class Job(StrEnum):
    """Paths of the job functions in `tasks_app.jobs`."""

    WATCH = "tasks_app.jobs.watch"
    ENSURE_WATCHERS = "tasks_app.jobs.ensure_watchers"
    HEARTBEAT = "tasks_app.jobs.heartbeat"
    DELIVER = "tasks_app.jobs.deliver"
    CANCEL = "tasks_app.jobs.cancel"
    PICK_UP = "tasks_app.jobs.pick_up"
    TIDY = "tasks_app.jobs.tidy"


# The watch loops live in a cluster of their own, so that long slices never keep a cancel waiting.
WATCH_CLUSTER = "watch"
MAIN_CLUSTER = "portal"

_WATCH_JOBS = frozenset({Job.WATCH})


def enqueue(job: Job, *args: int | str, cluster: str = "") -> None:
    """Put `job` into its queue (or `cluster`'s). Losing the message loses nothing: rows say what is to be done.

    `save=False`: results are rows of ours, and django-q2 rereads all saved successes at each save (measured).
    """
    name = cluster or (WATCH_CLUSTER if job in _WATCH_JOBS else MAIN_CLUSTER)
    async_task(job.value, *args, cluster=name, save=False)
