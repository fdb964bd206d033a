"""Filling the text index: in one job at a time, for some seconds, then in the next."""

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils.timezone import now

from tasks_app.ingest.texts import index_batch
from tasks_app.models import Task, WatchSlot
from tasks_app.queue import Job, enqueue

RUN_SECONDS = 20.0
"""Of one job: short enough that a worker is never long kept from other work."""
PAUSE_SECONDS = 0.05
"""Between batches: on SQLite others want to write too."""
_SLOT = 100  # beside those of the watch loop
_ENQUEUED = "enqueued"
_LEASE = timedelta(seconds=60)  # of a job, or of its message in the queue; longer than RUN_SECONDS


def enqueue_indexing(at: datetime) -> None:
    """Enqueue the job where tasks wait for it, and none is under way or in the queue."""
    if not Task.objects.filter(is_indexed=False).exists():
        return
    WatchSlot.objects.get_or_create(slot=_SLOT)
    free = WatchSlot.objects.filter(Q(until__isnull=True) | Q(until__lte=at), slot=_SLOT)
    if free.update(owner=_ENQUEUED, until=at + _LEASE):
        enqueue(Job.INDEX_TEXTS)


def index_texts(sleep: Callable[[float], None] = time.sleep) -> int:
    """Index what is due, for RUN_SECONDS at most; how many tasks. A second job at the same time does nothing."""
    owner, at = f"{os.uname().nodename}:{os.getpid()}"[-60:], now()
    WatchSlot.objects.get_or_create(slot=_SLOT)
    free = WatchSlot.objects.filter(Q(owner=_ENQUEUED) | Q(until__isnull=True) | Q(until__lte=at), slot=_SLOT)
    if not free.update(owner=owner, until=at + _LEASE):
        return 0
    count = 0
    try:
        end = time.monotonic() + RUN_SECONDS
        while (indexed := index_batch()) and time.monotonic() < end:
            count += indexed
            sleep(PAUSE_SECONDS)
        return count + indexed
    finally:
        WatchSlot.objects.filter(slot=_SLOT, owner=owner).update(owner="", until=None)
