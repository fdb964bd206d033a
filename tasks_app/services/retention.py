"""How long the history keeps ended tasks, by kind: the periods, what they would remove, and removing it.

Without a period nothing is ever removed. Never removed are tasks that run, tasks whose results somebody keeps or whose
files are still there, and what ended within the last day. Text index and tallies follow by triggers of the database.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, Min, OuterRef, Q, QuerySet, Sum
from django.utils.timezone import now

from tasks_app import queue
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.ingest.periods import JUST_ENDED, kept_from
from tasks_app.ingest.tasks import PAUSE_SECONDS
from tasks_app.kinds import GENERATION, HISTORY_FAMILIES, MADE, history_family
from tasks_app.models import (
    Generation,
    LogChunk,
    LogLine,
    RetentionPeriod,
    Submission,
    Task,
    TaskLog,
    TaskTally,
    TaskText,
)
from tasks_app.models.task import TaskQuerySet
from tasks_app.queue import Job, enqueue, stay_busy
from tasks_app.states import FINAL_STATES, OPEN_STATES

logger = logging.getLogger(__name__)

SHORTEST_DAYS = 1
LONGEST_DAYS = 36_500
BATCH_TASKS = 500
"""In one transaction, with their logs and texts: about 100 ms."""
LEASE = timedelta(minutes=2)
"""How long a purge that was killed keeps others from its families; each batch renews it."""


@dataclass(frozen=True, slots=True)
class FamilyPreview:
    """What a period does to one family. `removes` ended tasks that began before `before`; both empty without a period.

    `kept` are all its ended tasks now, `oldest` the day on which the first of them began.
    """

    family: str
    label: str
    days: int | None = None
    before: date | None = None
    removes: int = 0
    kept: int = 0
    oldest: date | None = None


@dataclass
class Purged:
    """What a purge has removed, by family."""

    tasks: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.tasks.values())


def current_periods() -> dict[str, int]:
    """Days by family; those without a period are not in it."""
    return dict(RetentionPeriod.objects.values_list("family", "days"))


def preview_periods(periods: Mapping[str, int], *, at: datetime | None = None) -> list[FamilyPreview]:
    """What a purge would remove if these were the periods; a row for each family. Nothing is changed.

    Counted by the tally of days, so that it takes no longer with a long history. Tasks that ended within the last day
    though they began long ago are counted and stay.
    """
    at = at or now()
    ended = TaskTally.objects.exclude(outcome__in=sorted(OPEN_STATES)).filter(count__gt=0)
    rows: dict[str, list[tuple[str, int, date]]] = {}
    for type, count, oldest in ended.values_list("type").annotate(Sum("count"), Min("day")):
        rows.setdefault(history_family(type), []).append((type, count, oldest))
    found = []
    for family, label in HISTORY_FAMILIES.items():
        types = rows.get(family, [])
        kept = sum(count for _, count, _ in types)
        oldest_day = min((oldest for _, _, oldest in types), default=None)
        days = periods.get(family)
        if days is None:
            found.append(FamilyPreview(family, label, kept=kept, oldest=oldest_day))
            continue
        before = kept_from(days, at)
        removes = _count_before(family, [type for type, _, _ in types], before, ended, at)
        found.append(FamilyPreview(family, label, days, before.date(), removes, kept, oldest_day))
    return found


def next_purge_at() -> datetime | None:
    """When the next purge starts by itself."""
    return queue.next_run_at(Job.PURGE_TASKS)


@transaction.atomic
def change_periods(periods: Mapping[str, int], *, actor: User) -> None:
    """Make these the periods; families that are not in it are kept for ever. Nothing changed, nothing noted.

    The next purge goes by them, and one under way stops where they have changed. Raises NotPermitted, InvalidInput (a
    family).
    """
    require(actor, Verb.CLEAN_UP)
    for family, days in periods.items():
        if family not in HISTORY_FAMILIES:
            raise InvalidInput(**{family: f"There is no kind of tasks “{family}”."})
        if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
            raise InvalidInput(**{family: f"A period has between {SHORTEST_DAYS} and {LONGEST_DAYS} days."})
    rows = RetentionPeriod.objects.select_for_update().order_by("family")
    before = {row.family: row.days for row in rows}
    changed = sorted(name for name in before.keys() | periods.keys() if before.get(name) != periods.get(name))
    if not changed:
        return
    for family in changed:
        if family in periods:
            RetentionPeriod.objects.update_or_create(family=family, defaults={"days": periods[family]})
        else:
            RetentionPeriod.objects.filter(family=family).delete()
    record(
        Action.RETENTION_CHANGE,
        actor=actor,
        target_name="task retention",
        before={family: before.get(family) for family in changed},
        after={family: periods.get(family) for family in changed},
    )


@transaction.atomic
def request_purge(*, actor: User) -> None:
    """Start a purge now, as a job; that one records what it removes. Raises NotPermitted."""
    require(actor, Verb.CLEAN_UP)
    record(Action.TASKS_PURGE, actor=actor, target_name="asked for", periods=current_periods())
    transaction.on_commit(partial(enqueue, Job.PURGE_TASKS))


def purge(at: datetime | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Purged:
    """Remove what has outlived its period, batch by batch. One entry says how much before the first task goes.

    Cut off anywhere, the next run goes on with the rest and says how much that is. A second run at the same time leaves
    the families alone that the first is at.
    """
    at, purged = at or now(), Purged()
    mine = {family: days for family, days in sorted(current_periods().items()) if _claim(family, days)}
    try:
        plan = {family: _plan(family, days, at) for family, days in mine.items()}
        plan = {family: types for family, types in plan.items() if types}
        if not plan:
            return purged
        _announce(plan, mine, at)
        for family, types in plan.items():
            before = kept_from(mine[family], at)
            removed = sum(_purge_type(family, mine[family], type, before, at, sleep) for type in types)
            purged.tasks[family] = removed
    finally:
        RetentionPeriod.objects.filter(family__in=mine).update(purging_until=None)
    logger.info("history purged tasks=%d families=%s", purged.total, ",".join(purged.tasks))
    return purged


def continue_purge() -> None:
    """Start a purge when one was cut off by a kill: its hold on a family has run out without being given back."""
    if RetentionPeriod.objects.filter(purging_until__lte=now()).exists():
        enqueue(Job.PURGE_TASKS)


def _claim(family: str, days: int) -> bool:
    free = Q(purging_until__isnull=True) | Q(purging_until__lte=now())
    row = RetentionPeriod.objects.filter(free, family=family, days=days)
    return bool(row.update(purging_until=now() + LEASE))


def _renew(family: str, days: int) -> bool:
    """Whether the period is still this one; inside a transaction, it then stays so until its end."""
    return bool(RetentionPeriod.objects.filter(family=family, days=days).update(purging_until=now() + LEASE))


def _plan(family: str, days: int, at: datetime) -> dict[str, int]:
    """Worker type → tasks to be removed; types of which none is are left out."""
    before = kept_from(days, at)
    types = TaskTally.objects.filter(count__gt=0, day__lt=before.date()).values_list("type", flat=True)
    counted = {}
    for type in sorted(set(types)):
        if history_family(type) == family:
            _renew(family, days)
            stay_busy()
            counted[type] = _past([type], before, at).count()
    return {type: count for type, count in counted.items() if count}


def _announce(plan: Mapping[str, Mapping[str, int]], days: Mapping[str, int], at: datetime) -> None:
    families = {
        family: {
            "tasks": sum(types.values()),
            "days": days[family],
            "before": kept_from(days[family], at).date().isoformat(),
        }
        for family, types in plan.items()
    }
    total = sum(sum(types.values()) for types in plan.values())
    record(
        Action.TASKS_PURGE,
        actor=None,
        target_name=f"{total} task{'s' if total != 1 else ''} past their period",
        tasks=total,
        families=families,
    )


def _purge_type(
    family: str, days: int, type: str, before: datetime, at: datetime, sleep: Callable[[float], None]
) -> int:
    """Oldest first, each batch from where the last one ended: what is gone is not walked over again."""
    removed, since = 0, None
    while True:
        stay_busy()
        tasks = _past([type], before, at)
        if since is not None:
            tasks = tasks.filter(started_at__gte=since)
        rows = list(tasks.order_by("started_at", "pk").values_list("pk", "started_at")[:BATCH_TASKS])
        if not rows:
            return removed
        with transaction.atomic():
            if not _renew(family, days):
                return removed
            removed += _remove([pk for pk, _ in rows], before, at)
        since = rows[-1][1]
        sleep(PAUSE_SECONDS)


def _remove(pks: list[int], before: datetime, at: datetime) -> int:
    """Delete tasks with everything that hangs on them; those that somebody has kept meanwhile stay."""
    pks = list(
        _past(None, before, at)
        .filter(pk__in=pks)
        .select_for_update(of=("self",))
        .values_list("pk", flat=True)
    )
    logs = list(TaskLog.objects.filter(task__in=pks).values_list("pk", flat=True))
    LogChunk.objects.filter(log__in=logs).delete()
    LogLine.objects.filter(task__in=pks).delete()
    TaskLog.objects.filter(pk__in=logs).delete()
    TaskText.objects.filter(task__in=pks).delete()
    Task.objects.filter(pk__in=pks).only("pk").delete()
    return len(pks)


def _past(types: Iterable[str] | None, before: datetime, at: datetime) -> TaskQuerySet:
    """Tasks (of these worker types) that may go. See the head of this module."""
    tasks = Task.objects.filter(
        Q(ended_at__isnull=True) | Q(ended_at__lt=at - JUST_ENDED),
        ~Exists(Submission.objects.unfinished().filter(pk=OuterRef("submission"))),
        state__in=sorted(FINAL_STATES),
        started_at__lt=before,
    )
    if types is not None:
        tasks = tasks.filter(type__in=types)
    is_cleaned = Exists(Generation.objects.filter(_is_cleaned(), pk=OuterRef("pk")))
    return tasks.filter(~Q(type__in=sorted(MADE)) | is_cleaned)


def _is_cleaned() -> Q:
    """Generations that result retention is done with: nobody keeps them, and no file is left."""
    return Q(kept_at__isnull=True, cleaned_at__isnull=False)


def _count_before(
    family: str, types: list[str], before: datetime, ended: QuerySet[TaskTally], at: datetime
) -> int:
    if family == GENERATION:  # few, and which of them may go the tally does not know
        return _past(types, before, at).count()
    found = ended.filter(type__in=types, day__lt=before.date()).aggregate(Sum("count"))
    return found["count__sum"] or 0
