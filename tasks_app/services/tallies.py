"""Counting by the tallies: any stretch of time is put together from years, months, weeks and days, which are few rows.

A stretch that does not begin or end with a day (UTC) has its first and last hours counted among the tasks themselves.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Case, CharField, F, Q, QuerySet, Sum, Value, When
from django.db.models.lookups import In

from tasks_app.models import TaskRollup, TaskTally
from tasks_app.models.task import Unindexed
from tasks_app.states import WARNINGS, State

Grain = TaskRollup.Grain
OUTCOME = Case(
    When(state=State.COMPLETED, warnings__gt=0, then=Value(WARNINGS)),
    default=F("state"),
    output_field=CharField(),
)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days from `first` on and before `last`; None is open."""

    first: date | None
    last: date | None

    def where(self) -> Q:
        found = Q()
        if self.first is not None:
            found &= Q(day__gte=self.first)
        if self.last is not None:
            found &= Q(day__lt=self.last)
        return found

    @property
    def is_empty(self) -> bool:
        return self.first is not None and self.last is not None and self.first >= self.last


def first_of(grain: str, day: date) -> date:
    """The first day of the period that `day` lies in."""
    match grain.lower():
        case "w":
            return day - timedelta(days=day.weekday())
        case "m":
            return day.replace(day=1)
        case "y":
            return day.replace(month=1, day=1)
    return day


def after(grain: str, first: date) -> date:
    """The first day of the next period."""
    days = {"d": 1, "w": 7, "m": 31, "y": 366}[grain.lower()]
    return first_of(grain, first + timedelta(days=days))


def begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def whole_days(since: datetime | None, until: datetime | None) -> Stretch:
    """The days that lie in a stretch of time as a whole."""
    first = last = None
    if since is not None:
        first = since.astimezone(UTC).date()
        first += _DAY if begin(first) < since else timedelta()
    if until is not None:
        last = until.astimezone(UTC).date()
    return Stretch(first, last)


def edges(since: datetime | None, until: datetime | None) -> list[tuple[datetime, datetime]]:
    """What is left of a stretch of time beside its whole days: at most two parts of less than a day."""
    days = whole_days(since, until)
    if since is not None and until is not None and (days.is_empty or days.first == days.last):
        return [(since, until)] if since < until else []
    found = []
    if since is not None and days.first is not None and since < begin(days.first):
        found.append((since, begin(days.first)))
    if until is not None and days.last is not None and begin(days.last) < until:
        found.append((begin(days.last), until))
    return found


def split(days: Stretch, grains: str) -> Iterator[tuple[str, Stretch]]:
    """`days` as periods of each of `grains`, the longest first: the middle in the longest, the ends in shorter ones."""
    if days.is_empty:
        return
    grain, shorter = grains[0], grains[1:]
    if not shorter:
        yield grain, days
        return
    first = days.first and first_of(grain, days.first)
    if days.first is not None and first is not None and first < days.first:
        first = after(grain, first)
    last = days.last and first_of(grain, days.last)
    if first is not None and last is not None and first >= last:
        yield from split(days, shorter)
        return
    yield grain, Stretch(first, last)
    if days.first is not None and first is not None:
        yield from split(Stretch(days.first, first), shorter)
    if days.last is not None and last is not None:
        yield from split(Stretch(last, days.last), shorter)


def count_by_kind(
    since: datetime | None, until: datetime | None, sources: Collection[int] | None
) -> Counter[tuple[int, str, str, str]]:
    """(source, node, type, outcome) → how many, in at most four queries. The edges are not in it; see `edges`."""
    wanted: dict[str, list[Stretch]] = {}
    for grain, stretch in split(whole_days(since, until), "ymwd"):
        wanted.setdefault(grain, []).append(stretch)
    found: Counter[tuple[int, str, str, str]] = Counter()
    for grain, stretches in wanted.items():
        rows = _rows(grain, stretches, sources)
        for *kind, count in rows.values_list("source", "node", "type", "outcome").annotate(n=Sum("count")):
            found[tuple(kind)] += count
    return found


def _rows(grain: str, stretches: Collection[Stretch], sources: Collection[int] | None) -> QuerySet[Any]:
    is_in_time = Q()
    for stretch in stretches:
        is_in_time |= stretch.where()
    rows: QuerySet[Any] = (
        TaskTally.objects.all() if grain == "d" else TaskRollup.objects.filter(grain=Grain(grain))
    )
    if sources is not None:
        # By time: SQLite would read all that a source ever had.
        rows = rows.filter(In(Unindexed(F("source_id")), sources))
    return rows.filter(is_in_time)


def count_by_period(
    grain: str, days: Stretch, sources: Collection[int] | None, **equal: Any
) -> Counter[tuple[date, str]]:
    """(first day of its period, outcome) → how many; `equal` are filters by node, type and outcome.

    `grain`: "d", "w" or "m". Without a node the smaller tallies of all nodes are read.
    """
    if days.is_empty:
        return Counter()
    rows = _rows(grain if "node" in equal else grain.upper(), [days], sources).filter(**equal)
    found: Counter[tuple[date, str]] = Counter()
    for day, outcome, count in rows.values_list("day", "outcome").annotate(n=Sum("count")):
        found[day, outcome] += count
    return found
