"""Gives the demo cluster a past of ninety days, as if the portal had followed it all the time.

It is made up by a process of its own (`demo.data`) and goes in by the way of every observed task. The audit trail says
that it was made up, and nothing else: no deed of a person is invented.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.db.models import Min
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.ingest import tasks
from tasks_app.ingest.whole_logs import store_whole_logs
from tasks_app.models import AuditEntry, KnownIdentity, Source, Task
from tasks_app.progress.tracker import Tracker
from tasks_app.services import identities
from tasks_app.services.acknowledgements import acknowledge_task
from tasks_app.sources.proxmox.tasks import parse_task_rows
from tasks_app.states import State

logger = logging.getLogger(__name__)

TASKS = 50_000
BURST = 100
"""Logs stored in one transaction: about 20 ms."""
PAUSE_SECONDS = 0.05
"""After each burst of writing: pages, and the watch loop above all, want the database too."""
_OWN_PAST = timedelta(days=3)  # what a new demo cluster says of itself
_MARGIN = timedelta(minutes=5)
# The people are those of the demo's teams; their names join them with their accounts.
_PEOPLE = (
    ("alice@pve", "", "alice"),
    ("bob@pve", "", "bob"),
    ("carol@pve", "", "carol"),
    ("ci@pve", "jenkins", "Build server"),
    ("automation@pve", "autosnap", "Snapshot schedule"),
)


@dataclass(frozen=True, slots=True)
class _Past:
    """One made-up task: its row in the list of its node, its whole log, and a note about its failure ("" mostly)."""

    row: Mapping[str, str | int]
    log: Sequence[str]
    note: str

    @property
    def upid(self) -> str:
        return str(self.row["upid"])

    @property
    def day(self) -> int:
        return int(self.row["starttime"]) // 86400


def seed_history(source: Source, *, count: int = TASKS, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Write the history of a demo source that has been read once; False when it has all been written before.

    A killed call is gone on with by the next: what is there already is left as it is. Newest first, so that pages have
    something to show at once.
    """
    end = _begin(source, count)
    if end is None:
        return False
    started = time.monotonic()
    _name_people(source)
    notes: dict[str, str] = {}
    for _, day in groupby(_made_up(end, count), key=lambda made: made.day):
        made = {past.upid: past for past in day}
        notes |= {upid: past.note for upid, past in made.items() if past.note}
        _write(source, made, sleep)
    _acknowledge(source, notes)
    record(Action.DEMO_HISTORY, actor=None, target=source, tasks=count, finished=True)
    logger.info(
        "demo history written source=%s tasks=%d seconds=%.0f", source.name, count, time.monotonic() - started
    )
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
    own = source.created_at - _OWN_PAST
    end = (min(own, oldest) if oldest else own) - _MARGIN
    end = end.astimezone(UTC).replace(microsecond=0)
    record(Action.DEMO_HISTORY, actor=None, target=source, tasks=count, until=end.isoformat())
    return end


def _made_up(end: datetime, count: int) -> Iterator[_Past]:
    """Newest first. Raises RuntimeError when the process that makes it up fails."""
    command = [sys.executable, "-m", "demo.data", "--end", str(int(end.timestamp())), "--tasks", str(count)]
    environ = {**os.environ, "PYTHONPATH": f"{settings.BASE_DIR}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            yield _Past(**json.loads(line))
    if process.returncode:
        raise RuntimeError(f"demo.data ended with {process.returncode}")


def _name_people(source: Source) -> None:
    """Before the tasks, so that these know at once whose they are. Of `root@pam` nobody knows who it was."""
    for user, token, name in _PEOPLE:
        if not KnownIdentity.objects.filter(remote_user=user, remote_token=token).exists():
            identities.add_identity(
                actor=None, source=source, remote_user=user, remote_token=token, person_name=name
            )


def _acknowledge(source: Source, notes: Mapping[str, str]) -> None:
    for task in Task.objects.unacknowledged_failures().filter(source=source, remote_id__in=list(notes)):
        acknowledge_task(task, actor=None, note=notes[task.remote_id])


def _write(source: Source, made: Mapping[str, _Past], sleep: Callable[[float], None]) -> None:
    """The tasks of one day, then their logs."""
    observations = parse_task_rows([dict(past.row) for past in made.values()])
    for first in range(0, len(observations), tasks.BATCH_ROWS):
        batch = observations[first : first + tasks.BATCH_ROWS]
        tasks.ingest_observations(source, batch, at=now(), sleep=sleep)
        sleep(PAUSE_SECONDS)
    missing = Task.objects.filter(source=source, remote_id__in=list(made), log__isnull=True)
    without = list(missing.defer("raw", "search_text").order_by("-started_at"))
    for first in range(0, len(without), BURST):
        _keep_logs(source, {task: made[task.remote_id].log for task in without[first : first + BURST]})
        sleep(PAUSE_SECONDS)


def _keep_logs(source: Source, logs: Mapping[Task, Sequence[str]]) -> None:
    """As the poller does with the logs of tasks that have ended; of one that went well only a clone's tells more."""
    for task, lines in logs.items():
        if task.state != State.COMPLETED or task.warnings or task.type == "qmclone":
            tracker = Tracker(task.type)
            for line in lines:
                tracker.feed(line)
            tasks.add_evidence(task, tracker, at=now())
    store_whole_logs(source, {task.pk: lines for task, lines in logs.items()}, at=now())
