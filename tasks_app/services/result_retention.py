"""Retention of generation tasks: results, uploads and logs go some time after the end, unless they are kept.

The row says first that they are gone, in one transaction with its audit entry; the files follow. What a kill leaves in
between has no row any more, and the sweep of the next run removes it. Task, prompt and audit trail stay.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils.timezone import is_naive, now

from tasks_app import queue
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.ingest.results import FOLDER, parts_folder, remove_files
from tasks_app.models import Asset, Generation, LogLine, Task, TaskEvent, TaskLog, Upload
from tasks_app.models.generation import GenerationQuerySet
from tasks_app.queue import Job, enqueue, stay_busy
from tasks_app.states import FINAL_STATES

logger = logging.getLogger(__name__)

BATCH_TASKS = 20
PAUSE_SECONDS = 0.05
"""Between batches, for other writers."""
SHOWN_TASKS = 50
"""Rows of the preview; the figures count all."""
ORPHAN_SECONDS = 3600
"""A file this old without a row belongs to nobody: the longest job is shorter."""
_LOOK_UP_NAMES = 500
_NAMED_TASKS = 100


@dataclass(frozen=True, slots=True)
class Removal:
    """One task of the preview, and when its results go at the earliest."""

    task: Task
    files: int
    bytes: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Preview:
    """What the next clean-up removes, and what follows after it; kept tasks are pinned. Lists are cut, figures not."""

    at: datetime
    tasks: int = 0
    files: int = 0
    bytes: int = 0
    due: tuple[Removal, ...] = ()
    upcoming: tuple[Removal, ...] = ()
    waiting_tasks: int = 0
    kept_tasks: int = 0
    kept_bytes: int = 0


@dataclass
class Removed:
    """What a clean-up has removed."""

    tasks: int = 0
    files: int = 0
    bytes: int = 0
    orphans: int = 0


def removal_at(task: Task) -> datetime | None:
    """When the results of `task` may go: None for one that has not ended, is kept, or is cleaned already.

    Counted from when the portal learnt of the end, if that was later: nobody loses what nobody could have seen.
    """
    generation = task.generation
    if not task.is_final or generation.kept_at is not None or generation.cleaned_at is not None:
        return None
    ended_at = max(task.ended_at or task.changed_at, task.changed_at)
    return ended_at + timedelta(hours=settings.TASK_RETENTION_HOURS)


def preview_clean_up(at: datetime | None = None) -> Preview:
    """What a clean-up at `at` (now) would remove, and what comes next. Nine queries."""
    at = at or now()
    due, later = _due(at), _cleanable().exclude(pk__in=_due(at).values("pk"))
    kept = Generation.objects.filter(kept_at__isnull=False, cleaned_at__isnull=True)
    tasks, files, size = _figures(due)
    kept_tasks, _, kept_bytes = _figures(kept)
    return Preview(
        at=at,
        tasks=tasks,
        files=files,
        bytes=size,
        due=tuple(_removals(due)),
        upcoming=tuple(_removals(later)),
        waiting_tasks=later.count(),
        kept_tasks=kept_tasks,
        kept_bytes=kept_bytes,
    )


def next_run_at() -> datetime | None:
    """When the next clean-up starts by itself."""
    return queue.next_run_at(Job.CLEAN_UP_RESULTS)


@transaction.atomic
def request_clean_up(*, actor: User) -> None:
    """Start a clean-up now, as a job. Raises NotPermitted."""
    require(actor, Verb.CLEAN_UP)
    tasks, files, size = _figures(_due(now()))
    record(
        Action.RESULT_CLEAN_UP,
        actor=actor,
        target_name="results past their retention",
        tasks=tasks,
        files=files,
        bytes=size,
        hours=settings.TASK_RETENTION_HOURS,
    )
    transaction.on_commit(lambda: enqueue(Job.CLEAN_UP_RESULTS))


def clean_up(at: datetime | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Removed:
    """Remove what is past its retention, batch by batch, then files without a row. Any number at once is harmless."""
    at = at or now()
    removed = Removed()
    while pks := list(_due(at).order_by("pk").values_list("pk", flat=True)[:BATCH_TASKS]):
        stay_busy()
        if not _clean_batch(pks, removed):
            break  # somebody else does it
        sleep(PAUSE_SECONDS)
    removed.orphans = sweep(at)
    if removed.tasks or removed.orphans:
        logger.info("results cleaned tasks=%d files=%d bytes=%d", removed.tasks, removed.files, removed.bytes)
    return removed


def sweep(at: datetime | None = None) -> int:
    """Delete files that no row names: what killed workers and removed sources leave. Returns how many."""
    before = (at or now()) - timedelta(seconds=ORPHAN_SECONDS)
    swept = 0
    for path in parts_folder().glob("*.part"):
        try:
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                swept += 1
        except FileNotFoundError:
            continue
    for folder, model in ((FOLDER, Asset), ("uploads", Upload)):
        for names in _batches(_listed(folder)):
            known = set(model.objects.filter(file__in=names).values_list("file", flat=True))
            orphans = [name for name in names if name not in known and _is_older(name, before)]
            swept += remove_files(orphans)
    return swept


def _cleanable() -> GenerationQuerySet:
    """Ended and not kept, with `ended` the later of the end and of when the portal learnt of it."""
    copying = Asset.objects.under_way(now()).filter(generation=OuterRef("pk"))
    return Generation.objects.filter(
        ~Exists(copying),
        task__state__in=sorted(FINAL_STATES),
        kept_at__isnull=True,
        cleaned_at__isnull=True,
    )


def _due(at: datetime) -> GenerationQuerySet:
    before = at - timedelta(hours=settings.TASK_RETENTION_HOURS)
    ended = Q(task__ended_at__isnull=True) | Q(task__ended_at__lt=before)
    return _cleanable().filter(ended, task__changed_at__lt=before)


def _figures(generations: GenerationQuerySet) -> tuple[int, int, int]:
    """Tasks, files, bytes."""
    pks = generations.values("pk")
    assets = Asset.objects.filter(generation__in=pks, state=Asset.State.COPIED)
    uploads = Upload.objects.filter(generation__in=pks)
    files = [rows.aggregate(count=Count("pk"), bytes=Sum("size")) for rows in (assets, uploads)]
    count = sum(row["count"] for row in files)
    return generations.count(), count, sum(row["bytes"] or 0 for row in files)


def _removals(generations: GenerationQuerySet) -> Iterator[Removal]:
    """The first SHOWN_TASKS, next to go first."""
    copied = Q(assets__state=Asset.State.COPIED)
    rows = (
        generations.select_related("task__source")
        .annotate(
            files=Count("assets", filter=copied),
            bytes=Sum("assets__size", filter=copied),
        )
        .order_by("task__changed_at", "pk")[:SHOWN_TASKS]
    )
    for row in rows:
        when = removal_at(row.task)
        if when is not None:
            counted = vars(row)
            yield Removal(row.task, counted["files"], counted["bytes"] or 0, when)


def _clean_batch(pks: list[int], removed: Removed) -> bool:
    """One transaction for the rows, then their files. False when nothing was left to do."""
    with transaction.atomic():
        # A keep that came first wins; one that comes now waits for us and finds the results gone.
        rows = Generation.objects.select_for_update(of=("self",)).filter(pk__in=pks)
        rows = rows.filter(kept_at__isnull=True, cleaned_at__isnull=True)
        cleaned = list(rows.select_related("task").order_by("pk"))
        if not cleaned:
            return False
        names, size = _forget(cleaned)
        own = [row for row in cleaned if row.actor_name]
        if own:
            record(
                Action.RESULT_CLEAN_UP,
                actor=None,
                target_name=f"{len(own)} task{'s' if len(own) != 1 else ''} past their retention",
                tasks=[row.task.api_id for row in own[:_NAMED_TASKS]],
                files=len(names),
                bytes=size,
            )
    remove_files(names)
    removed.tasks += len(cleaned)
    removed.files += len(names)
    removed.bytes += size
    return True


def _forget(cleaned: list[Generation]) -> tuple[list[str], int]:
    """Write that results, uploads, logs and what else is large are gone; the names and bytes of the files."""
    at, pks = now(), [row.pk for row in cleaned]
    assets = Asset.objects.filter(generation__in=pks)
    uploads = Upload.objects.filter(generation__in=pks)
    files = [
        *assets.exclude(file="").values_list("file", "size"),
        *uploads.exclude(file="").values_list("file", "size"),
    ]
    assets.filter(state__in=[Asset.State.COPIED, Asset.State.WAITING]).update(
        state=Asset.State.REMOVED, file="", url="", ref={}, lease_until=None
    )
    assets.update(url="", ref={})
    uploads.update(file="")  # that there was a picture stays: nobody makes it again without
    LogLine.objects.filter(task__in=pks).delete()
    TaskLog.objects.filter(task__in=pks).delete()
    Task.objects.filter(pk__in=pks).update(raw={}, tracker_state={}, log_total=0)
    for row in cleaned:
        row.cleaned_at, row.metadata, row.problem_detail = at, {}, ""
        row.handle = {"id": row.handle["id"]} if "id" in row.handle else {}
    Generation.objects.bulk_update(cleaned, ["cleaned_at", "metadata", "problem_detail", "handle"])
    TaskEvent.objects.bulk_create(
        TaskEvent(task_id=row.pk, source_id=row.task.source_id, kind=TaskEvent.Kind.STATE) for row in cleaned
    )
    return [str(name) for name, _ in files], sum(size or 0 for _, size in files)


def _listed(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in default_storage.listdir(folder)[1]]
    except FileNotFoundError:
        return []


def _batches(names: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(names), _LOOK_UP_NAMES):
        yield names[first : first + _LOOK_UP_NAMES]


def _is_older(name: str, before: datetime) -> bool:
    try:
        modified_at = default_storage.get_modified_time(name)
    except Exception:  # gone meanwhile, in the words of whatever storage
        return False
    return (modified_at.replace(tzinfo=UTC) if is_naive(modified_at) else modified_at) < before
