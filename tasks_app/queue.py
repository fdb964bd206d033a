"""The only door to django-q2. A *job* is what our own workers run; it takes numbers and words, never objects."""

import os
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.timezone import now
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule, Success
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.tasks import async_task
from redis import RedisError


class Job(StrEnum):
    """Paths of the job functions in `tasks_app.jobs`."""

    WATCH = "tasks_app.jobs.watch"
    ENSURE_WATCHERS = "tasks_app.jobs.ensure_watchers"
    PING = "tasks_app.jobs.ping"
    DELIVER = "tasks_app.jobs.deliver"
    CANCEL = "tasks_app.jobs.cancel"
    DISPATCH = "tasks_app.jobs.dispatch"
    GENERATE = "tasks_app.jobs.generate"
    COPY_RESULT = "tasks_app.jobs.copy_result"
    CLEAN_UP_RESULTS = "tasks_app.jobs.clean_up_results"
    PURGE_TASKS = "tasks_app.jobs.purge_tasks"
    PICK_UP = "tasks_app.jobs.pick_up"
    TIDY = "tasks_app.jobs.tidy"
    INDEX_TEXTS = "tasks_app.jobs.index_texts"
    PUMP = "tasks_app.jobs.pump"
    LOOK_FOR_ADDRESSES = "tasks_app.jobs.look_for_addresses"
    RUN_LEASES = "tasks_app.jobs.run_leases"
    CHECK_MACHINES = "tasks_app.jobs.check_machines"
    ANCHOR_AUDIT = "tasks_app.jobs.anchor_audit"
    VERIFY_AUDIT = "tasks_app.jobs.verify_audit"
    PURGE_AUDIT = "tasks_app.jobs.purge_audit"
    SHIP_AUDIT = "tasks_app.jobs.ship_audit"
    SEND_MAILS = "tasks_app.jobs.send_mails"
    NAME_PERSONS = "tasks_app.jobs.name_persons"


# The watch loops live in a cluster of their own, so that long slices never keep a cancel waiting.
WATCH_CLUSTER = "watch"
MAIN_CLUSTER = "portal"

# Slow enough to cost nothing, often enough that what a killed worker left goes on soon; django-q2's clock fires
# every 30 s at best.
_SCHEDULES: dict[Job, tuple[str, int]] = {
    Job.ENSURE_WATCHERS: (Schedule.MINUTES, 1),
    Job.PICK_UP: (Schedule.MINUTES, 1),
    Job.TIDY: (Schedule.MINUTES, 10),
    Job.RUN_LEASES: (Schedule.MINUTES, 10),
    Job.CHECK_MACHINES: (Schedule.MINUTES, 1),
    Job.ANCHOR_AUDIT: (Schedule.MINUTES, 10),
    Job.VERIFY_AUDIT: (Schedule.MINUTES, 24 * 60),
    Job.SEND_MAILS: (Schedule.MINUTES, 10),
    Job.CLEAN_UP_RESULTS: (Schedule.MINUTES, 60),
    Job.PURGE_TASKS: (Schedule.MINUTES, 24 * 60),
}

COPIES_AT_ONCE = max(1, settings.WORKERS - 1)
"""Results that are copied at the same time: one worker stays free for cancels, where there is more than one."""

# Jobs that may take longer than the rest, in seconds. Such a job calls `stay_busy` while it lives. The broker hands
# its message out again meanwhile, which a second run must survive.
_TIMEOUTS: dict[Job, int] = {
    Job.COPY_RESULT: 2400,  # a download (sources.download.MAX_SECONDS) and bringing it to a bucket
    Job.CLEAN_UP_RESULTS: 600,
    Job.PURGE_TASKS: 3600,
    Job.NAME_PERSONS: 1800,  # looks through all tasks
    Job.PURGE_AUDIT: 1800,  # half a second for 5,000 entries
    Job.VERIFY_AUDIT: 1800,  # 25 s for a million entries
}


def enqueue(job: Job, *args: int | str) -> None:
    """Put `job` into its queue. Losing the message loses nothing: rows say what is to be done.

    `save=False`: results are rows of ours, and django-q2 rereads all saved successes at each save (measured).
    """
    cluster = WATCH_CLUSTER if job is Job.WATCH else MAIN_CLUSTER
    options = {"timeout": _TIMEOUTS[job]} if job in _TIMEOUTS else {}
    async_task(job.value, *args, cluster=cluster, save=False, **options)


def ensure_schedules() -> None:
    """Make the clock's rows what `_SCHEDULES` says; run at every start."""
    for job, (kind, minutes) in _SCHEDULES.items():
        Schedule.objects.update_or_create(
            name=job.name.lower(),
            defaults={
                "func": job.value,
                "schedule_type": kind,
                "minutes": minutes,
                "repeats": -1,
                "kwargs": f"q_options={_schedule_options(job)!r}",
            },
        )


def next_run_at(job: Job) -> datetime | None:
    """When the clock starts `job` next; None before the first start of the portal."""
    return Schedule.objects.filter(name=job.name.lower()).values_list("next_run", flat=True).first()


def _schedule_options(job: Job) -> dict[str, bool | int]:
    return {"save": False} | ({"timeout": _TIMEOUTS[job]} if job in _TIMEOUTS else {})


def send_ping(cluster: str) -> str:
    """Enqueue a job that does nothing; the id to ask `has_answered` for. Its result is saved, that is the point."""
    forget_before = now() - timedelta(minutes=5)
    Success.objects.filter(func=Job.PING.value, stopped__lt=forget_before).delete()
    return str(async_task(Job.PING.value, cluster=cluster, save=True, timeout=10))


def has_answered(ping: str) -> bool:
    """Whether the ping went through queue, worker and monitor."""
    return Success.objects.filter(pk=ping).exists()


def broker_problem() -> str:
    """Why the broker does not take jobs, in its own words; "" when it does. The database is not asked here."""
    if not settings.REDIS_URL:
        return ""
    try:
        get_broker().ping()
    except (RedisError, OSError) as error:
        return str(error).rstrip(".")
    return ""


def waiting_jobs() -> int | None:
    """Messages in the database's queue; None when the broker is Redis."""
    return None if settings.REDIS_URL else OrmQ.objects.count()


# Busy marks: one empty file per job under way, named cluster.pid, so that the supervisor on this host can tell a
# cluster that works on slow remotes from one that hangs. Files, because a mark must not cost a database write.
_BUSY_DIR = Path(settings.DATA_DIR) / "run"


def _mark(**_: Any) -> None:
    _BUSY_DIR.mkdir(parents=True, exist_ok=True)
    _mark_file().touch()


def _unmark(**_: Any) -> None:
    _mark_file().unlink(missing_ok=True)


def stay_busy() -> None:
    """Renew the mark of the job under way, for those that may take longer than the usual limit."""
    if _mark_file().exists():
        _mark()


def _mark_file() -> Path:
    cluster = os.environ.get("Q_CLUSTER_NAME") or MAIN_CLUSTER
    return _BUSY_DIR / f"{cluster}.{os.getpid()}"


pre_execute.connect(_mark, dispatch_uid="busy mark")
post_execute_in_worker.connect(_unmark, dispatch_uid="busy mark")


def is_busy(cluster: str) -> bool:
    """Whether every worker of `cluster` on this host has been inside a job for less than the job time limit.

    The watch loops are always inside their jobs; the third worker of that cluster is there for pings.
    """
    if cluster != MAIN_CLUSTER:
        return False
    oldest = now().timestamp() - settings.JOB_TIMEOUT_SECONDS
    busy = 0
    for file in _BUSY_DIR.glob(f"{cluster}.*"):
        try:
            os.kill(int(file.suffix[1:]), 0)
            busy += file.stat().st_mtime > oldest
        except (ProcessLookupError, FileNotFoundError):
            file.unlink(missing_ok=True)
    return busy >= settings.WORKERS
