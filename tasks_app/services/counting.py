"""Counts of the history for one person and one set of filters, each in few queries of bounded cost.

Where only source, node, type, outcome and time are asked for, the tallies tell exact numbers. For anything else the
newest matches are counted, at most LIMIT, and what comes of that says so.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import F, Func, IntegerField

from tasks_app.models import Source, Task, Team
from tasks_app.models.task import TaskQuerySet
from tasks_app.services import tallies
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import newest_matches
from tasks_app.states import ATTENTION

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

LIMIT = 3000
"""Tasks that are counted one by one: about 15 ms. More would tell nobody more."""
TEXT_LIMIT = 1000
"""The same for a text, because each match is read."""
PERSON_LIMIT = 2000
"""Newest tasks among which people are counted where that takes a query of its own; the tallies do not know people."""
ATTENTION_LIMIT = 500
"""Failures that nobody acknowledged, the newest, among which those that pass the filters are counted."""

Kind = tuple[int, str, str, str]
"""Source, node, type, outcome."""
ByHour = Counter[tuple[int, str]]
"""(hours since 1970, outcome) → how many began then."""
_OWN = {"grid": ("type", "outcome")}  # filters that a count ignores; any other name ignores itself


class Hour(Func):
    """Hours since 1970, in the database's own words."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return self.as_sql(compiler, connection, template="strftime('%%%%s', %(expressions)s) / 3600")

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = "floor(extract(epoch from %(expressions)s) / 3600)::integer"
        return self.as_sql(compiler, connection, template=template)


class _Row(NamedTuple):
    """What is counted of one task."""

    source: int
    node: str
    type: str
    outcome: str
    person: str
    hour: int

    @property
    def kind(self) -> Kind:
        return self[:4]


@dataclass(frozen=True)
class _Sample:
    """Tasks that are counted one by one, newest first; `counted_to` is None when they are all there are."""

    rows: list[_Row]
    counted_to: datetime | None

    @cached_property
    def kinds(self) -> Counter[Kind]:
        return Counter(row.kind for row in self.rows)


class Counting:
    """All counts for `user` and `filters`; what several of them need is read once."""

    def __init__(self, user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> None:
        self.filters = filters
        self.source_names = dict(Source.objects.values_list("pk", "name"))
        self._visible = Task.objects.visible_to(user)
        self._by_role = set(Source.objects.visible_to(user).values_list("pk", flat=True))
        self._sees_all = self._by_role == set(self.source_names)
        self._user = user
        self._samples: dict[tuple[HistoryFilters, int], _Sample] = {}

    @property
    def uses_tallies(self) -> bool:
        """The counts are exact, but for tasks that the person sees only through a team."""
        return self.filters.counts_by_tally and bool(self._by_role)

    @property
    def tally_sources(self) -> list[int] | None:
        """Sources whose tallies count for this person and this filter of sources; None are all."""
        if self.filters.source is not None:
            return [self.filters.source] if self.filters.source in self._by_role else []
        return None if self._sees_all else sorted(self._by_role)

    def by_kind(self, *, ignoring: str) -> tuple[Counter[Kind], bool]:
        """How many of each kind pass the filters but one (`ignoring`, or "grid"), and whether that is not all."""
        filters = self.filters.without(*_OWN.get(ignoring, (ignoring,)))
        if not self.uses_tallies:
            sample = self._sample(filters)
            return sample.kinds, sample.counted_to is not None
        counts, is_capped = self._all_kinds
        wanted = [(filters.source, 0), (filters.node, 1), (filters.type, 2), (filters.outcome, 3)]
        checks = [(value, place) for value, place in wanted if value]
        passing = {kind: n for kind, n in counts.items() if all(kind[place] == v for v, place in checks)}
        return Counter(passing), is_capped

    def by_person(self) -> tuple[Counter[str], bool]:
        limit = PERSON_LIMIT if self.uses_tallies or self.filters.person else LIMIT
        sample = self._sample(self.filters.without("person"), limit)
        return Counter(row.person for row in sample.rows), sample.counted_to is not None

    def count_attention(self) -> tuple[int, bool]:
        """How many failures nobody has acknowledged."""
        filters = dataclasses.replace(self.filters, outcome=ATTENTION)
        sample = self._sample(filters, ATTENTION_LIMIT)
        return len(sample.rows), sample.counted_to is not None

    def by_hour(self, *, since: datetime | None, until: datetime | None) -> tuple[ByHour, datetime | None]:
        """What passes the filters and began in this time; None, or how far back was counted."""
        return _by_hour(self._sample(dataclasses.replace(self.filters, since=since, until=until)))

    def by_hour_of_teams(self) -> tuple[ByHour, datetime | None]:
        """The same of what the tallies do not tell: tasks that are seen through a team only."""
        if self._through_teams is None:
            return Counter(), None
        return _by_hour(_read(self.filters.parts(self._through_teams), LIMIT))

    @cached_property
    def _through_teams(self) -> TaskQuerySet | None:
        """Tasks that the person sees only through a team; None when there cannot be any."""
        team_ids = [] if self._sees_all else list(Team.objects.of(self._user).values_list("pk", flat=True))
        return Task.objects.of_teams(team_ids).exclude(source__in=self._by_role) if team_ids else None

    @cached_property
    def _all_kinds(self) -> tuple[Counter[Kind], bool]:
        """Everything in the stretch of time, for every source that counts by its tallies, and what comes beside."""
        sources = None if self._sees_all else sorted(self._by_role)
        since, until = self.filters.since, self.filters.until
        counts = tallies.count_by_kind(since, until, sources)
        samples = []
        for first, last in tallies.edges(since, until):
            rest = Task.objects.filter(started_at__gte=first, started_at__lt=last)
            samples.append(_read([rest if sources is None else rest.filter(source__in=sources)], LIMIT))
        if self._through_teams is not None:
            in_time = HistoryFilters(since=since, until=until)
            samples.append(_read(in_time.parts(self._through_teams), LIMIT))
        for sample in samples:
            counts.update(sample.kinds)
        return counts, any(sample.counted_to is not None for sample in samples)

    def _sample(self, filters: HistoryFilters, limit: int | None = None) -> _Sample:
        limit = LIMIT if limit is None else limit
        if (filters, limit) not in self._samples:
            self._samples[filters, limit] = self._read(filters, limit)
        return self._samples[filters, limit]

    def _read(self, filters: HistoryFilters, limit: int) -> _Sample:
        visible, searched_to = self._visible, None
        if filters.outcome == ATTENTION:
            pks, searched_to = self._waiting
            visible = visible.filter(pk__in=pks)
        if filters.terms:
            pks, searched_to = self._matches
            visible = visible.filter(pk__in=pks)
        sample = _read(filters.parts(visible), limit)
        return sample if searched_to is None else dataclasses.replace(sample, counted_to=searched_to)

    @cached_property
    def _waiting(self) -> tuple[list[int], datetime | None]:
        """The newest failures that nobody acknowledged, whoever may see them; None, or how far back that goes."""
        newest = Task.objects.unacknowledged_failures().order_by("-started_at", "-pk")
        found = list(newest.values_list("pk", "started_at")[:ATTENTION_LIMIT])
        return [pk for pk, _ in found], found[-1][1] if len(found) == ATTENTION_LIMIT else None

    @cached_property
    def _matches(self) -> tuple[list[int], datetime | None]:
        filters = self.filters
        return newest_matches(filters.terms, most=TEXT_LIMIT, since=filters.since, until=filters.until)


def _read(parts: Iterable[TaskQuerySet], limit: int) -> _Sample:
    """The newest tasks of all `parts`, at most `limit`."""
    rows: list[_Row] = []
    for tasks in parts:
        tasks = tasks.annotate(outcome=tallies.OUTCOME, hour=Hour(F("started_at")))
        newest = tasks.order_by("-started_at", "-pk").values_list(*_Row._fields)
        rows += [_Row(*row) for row in newest[: limit + 1]]
    if len(rows) <= limit:
        return _Sample(rows, None)
    rows = sorted(rows, key=lambda row: -row.hour)[:limit]
    return _Sample(rows, datetime.fromtimestamp(rows[-1].hour * 3600, UTC))


def _by_hour(sample: _Sample) -> tuple[ByHour, datetime | None]:
    return Counter((row.hour, row.outcome) for row in sample.rows), sample.counted_to
