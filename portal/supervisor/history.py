"""Gives the demo cluster a past of ninety days, as if the portal had followed it all the time; made up by `demo.data`.

The tasks go in by the way of every observed task. The audit trail says that they were made up, and nothing else: no
deed of a person is invented.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.db import transaction
from django.db.models import Min
from django.utils.timezone import now

from demo.data import TASKS, PastTask, make_history
from demo.proxmox import past
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.ingest import logs, tasks
from tasks_app.models import AuditEntry, Source, Task
from tasks_app.progress.tracker import Tracker
from tasks_app.sources.base import RemoteLogLine
from tasks_app.sources.proxmox.tasks import parse_task_rows
from tasks_app.states import State

logger = logging.getLogger(__name__)

SEED = 1
PAUSE_SECONDS = 0.05
"""After each burst of writing: pages, and the watch loop above all, want the database too."""
BURST_LOGS = 20
_MARGIN = timedelta(minutes=5)


def seed_history(source: Source, *, count: int = TASKS, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Write the history of a demo source that has been read once; False when it has all been written before.

    A killed call is gone on with by the next: what is there already is left as it is. Newest first, so that pages have
    something to show at once.
    """
    end = _begin(source, count)
    if end is None:
        return False
    history = make_history(end=int(end.timestamp()), seed=SEED, tasks=count)
    history.reverse()
    for _, day in groupby(history, key=lambda task: task.upid.starttime // 86400):
        _write(source, list(day), sleep)
    record(Action.DEMO_HISTORY, actor=None, target=source, tasks=count, finished=True)
    logger.info("demo history written source=%s tasks=%d", source.name, count)
    return True


@transaction.atomic
def _begin(source: Source, count: int) -> datetime | None:
    """Where the history ends: before the oldest task of the cluster itself. None when it has been written.

    The trail remembers both, and for ever: what an admin has removed does not come back.
    """
    assert source.is_demo
    Source.objects.select_for_update().get(pk=source.pk)
    known = AuditEntry.objects.filter(
        action=Action.DEMO_HISTORY, target_kind="source", target_id=str(source.pk)
    ).order_by("number")
    entries = [entry.data for entry in known]
    if any(data.get("finished") for data in entries):
        return None
    if entries:
        return datetime.fromisoformat(entries[0]["until"])
    oldest = Task.objects.filter(source=source).aggregate(oldest=Min("started_at"))["oldest"]
    own = source.created_at - timedelta(days=past.DAYS)
    end = (min(own, oldest) if oldest else own) - _MARGIN
    end = end.astimezone(UTC).replace(microsecond=0)
    record(Action.DEMO_HISTORY, actor=None, target=source, tasks=count, until=end.isoformat())
    return end


def _write(source: Source, day: Sequence[PastTask], sleep: Callable[[float], None]) -> None:
    """One day's tasks, then their logs."""
    by_upid = {str(task.upid): task for task in day}
    observations = parse_task_rows([task.row() for task in day])
    for first in range(0, len(observations), tasks.BATCH_ROWS):
        batch = observations[first : first + tasks.BATCH_ROWS]
        tasks.ingest_observations(source, batch, at=now(), sleep=sleep)
        sleep(PAUSE_SECONDS)
    missing = Task.objects.filter(source=source, remote_id__in=by_upid, log__isnull=True).order_by(
        "-started_at"
    )
    for number, task in enumerate(missing.defer("raw", "search_text"), start=1):
        _keep_log(task, by_upid[task.remote_id].lines(), sleep)
        if number % BURST_LOGS == 0:
            sleep(PAUSE_SECONDS)


def _keep_log(task: Task, lines: Sequence[str], sleep: Callable[[float], None]) -> None:
    """As the poller does with the log of a task that has ended; of one that went well only a clone's tells more."""
    if task.state != State.COMPLETED or task.warnings or task.type == "qmclone":
        tracker = Tracker(task.type)
        for line in lines:
            tracker.feed(line)
        tasks.add_evidence(task, tracker, at=now())
    numbered = [RemoteLogLine(number, text) for number, text in enumerate(lines, start=1)]
    logs.store_final_log(task, numbered, complete=True, at=now(), sleep=sleep)
