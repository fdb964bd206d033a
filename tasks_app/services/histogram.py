"""Tasks over time: about 60 buckets of hours, days, weeks, months or years, by outcome."""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import dropwhile
from typing import Any

from django.db.models import Min
from django.utils.timezone import now

from tasks_app.models import TaskRollup
from tasks_app.services import tallies
from tasks_app.services.counting import Counting
from tasks_app.states import OUTCOMES

_HOUR = timedelta(hours=1)
# The longest stretch of time that is shown in such steps; beyond the last, in years.
_STEPS = {
    "hour": timedelta(days=3),
    "day": timedelta(days=62),
    "week": timedelta(weeks=62),
    "month": timedelta(days=3700),
}
_LONGEST = "year"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tasks that began from `since` on and before `until`, by outcome (failures first)."""

    since: datetime
    until: datetime
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Histogram:
    """`step` is hour, day, week, month or year (UTC). `counted_to`: older tasks are not counted; None, all are."""

    step: str = "day"
    buckets: list[Bucket] = field(default_factory=list)
    counted_to: datetime | None = None

    @property
    def highest(self) -> int:
        """Of all totals."""
        return max((bucket.total for bucket in self.buckets), default=0)


def read_histogram(counting: Counting) -> Histogram:
    """Of the time that is asked for; else from the oldest task, or the oldest that is counted, until now."""
    return _from_tallies(counting) if counting.uses_tallies else _one_by_one(counting)


def _one_by_one(counting: Counting) -> Histogram:
    since, until = counting.filters.since, counting.filters.until
    hours, counted_to = counting.by_hour(since=since, until=until)
    is_open = since is None
    if since is None:
        since = _time_of(min((hour for hour, _ in hours), default=None))
    return _build(
        _step_of(since, until), since, until, _by_time(hours), counted_to, starts_with_tasks=is_open
    )


def _from_tallies(counting: Counting) -> Histogram:
    since, until = counting.filters.since, counting.filters.until
    oldest = _oldest(counting)
    since = oldest if since is None or (oldest is not None and since < oldest) else since
    step = _step_of(since, until)
    if step == "hour":
        return _one_by_one(counting)
    counts: Counter[tuple[datetime, str]] = Counter()
    grains = "d" if step == "day" else f"{step[0]}d"
    equal = {
        name: value for name in ("node", "type", "outcome") if (value := getattr(counting.filters, name))
    }
    for grain, days in tallies.split(tallies.whole_days(since, until), grains):
        found = tallies.count_by_period(grain, days, counting.tally_sources, **equal)
        for (day, outcome), count in found.items():
            counts[tallies.begin(day), outcome] += count
    counted_to = None
    parts = [counting.by_hour(since=first, until=last) for first, last in tallies.edges(since, until)]
    for hours, searched_to in [*parts, counting.by_hour_of_teams()]:
        counts.update(_by_time(hours))
        counted_to = counted_to or searched_to
    is_open = counting.filters.since is None
    return _build(step, since, until, counts, counted_to, starts_with_tasks=is_open)


def _oldest(counting: Counting) -> datetime | None:
    """The first day of the month of the oldest task that can be among them."""
    months: Any = TaskRollup.objects.filter(grain=TaskRollup.Grain.MONTH_OF_ALL_NODES, count__gt=0)
    if counting.tally_sources is not None:
        months = months.filter(source__in=counting.tally_sources)
    oldest: date | None = months.aggregate(oldest=Min("day"))["oldest"]
    return tallies.begin(oldest) if oldest else None


def _step_of(since: datetime | None, until: datetime | None) -> str:
    if since is None:
        return "day"
    length = (until or now()) - since
    return next((step for step, longest in _STEPS.items() if length <= longest), _LONGEST)


def _build(
    step: str,
    since: datetime | None,
    until: datetime | None,
    counts: Counter[tuple[datetime, str]],
    counted_to: datetime | None,
    *,
    starts_with_tasks: bool,
) -> Histogram:
    """What is outside the buckets (a clock ahead of ours) is counted in the first or the last."""
    if since is None:
        return Histogram(step, [], counted_to)
    begins = _begins(step, since, until or now())
    sums = [Counter[str]() for _ in begins]
    for (at, outcome), count in counts.items():
        sums[max(0, bisect_right(begins, at) - 1)][outcome] += count
    ends = [*begins[1:], until or _next(step, begins[-1])]
    buckets = [
        Bucket(max(first, since), last, {outcome: sum_[outcome] for outcome in OUTCOMES if sum_[outcome] > 0})
        for first, last, sum_ in zip(begins, ends, sums, strict=True)
    ]
    if starts_with_tasks:
        buckets = list(dropwhile(lambda bucket: not bucket.counts, buckets))
    return Histogram(step, buckets, counted_to)


def _begins(step: str, since: datetime, until: datetime) -> list[datetime]:
    since = since.astimezone(UTC)
    first = since.replace(minute=0, second=0, microsecond=0)
    if step != "hour":
        first = tallies.begin(tallies.first_of(step[0], since.date()))
    found = [first]
    while (following := _next(step, found[-1])) < until:
        found.append(following)
    return found


def _next(step: str, first: datetime) -> datetime:
    return first + _HOUR if step == "hour" else tallies.begin(tallies.after(step[0], first.date()))


def _time_of(hour: int | None) -> datetime | None:
    return None if hour is None else datetime.fromtimestamp(hour * 3600, UTC)


def _by_time(hours: Counter[tuple[int, str]]) -> Counter[tuple[datetime, str]]:
    return Counter({(datetime.fromtimestamp(h * 3600, UTC), outcome): n for (h, outcome), n in hours.items()})
