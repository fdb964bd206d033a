"""Counts of the history for one person and one set of filters, each in few queries of bounded cost.

Where only source, node, type, outcome and time are asked for, the tallies tell exact numbers. For anything else the
newest matches are counted, at most LIMIT, and what comes of that says so.
"""

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import Count, F, Func, IntegerField

from tasks_app.models import Source, Task, Team
from tasks_app.models.task import TaskQuerySet
from tasks_app.services import tallies
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import newest_matches
from tasks_app.states import ATTENTION

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

LIMIT = 10_000
"""Tasks that are counted one by one; beyond, counting costs time and tells nobody anything."""
TEXT_LIMIT = 1000
"""The same for a text, because each match is read."""
PERSON_LIMIT = 2000
"""Newest tasks among which people are counted where the tallies, which do not know people, tell the rest."""
ATTENTION_LIMIT = 1000

Kind = tuple[int, str, str, str]
"""Source, node, type, outcome."""
_OWN = {"grid": ("type", "outcome")}  # filters that a count ignores; any other name ignores itself


class Hour(Func):
    """Hours since 1970, in the database's own words."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return self.as_sql(compiler, connection, template="strftime('%%%%s', %(expressions)s) / 3600")

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = "floor(extract(epoch from %(expressions)s) / 3600)::integer"
        return self.as_sql(compiler, connection, template=template)


class Counting:
    """All counts for `user` and `filters`; what several of them need is read once."""

    def __init__(self, user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> None:
        self.filters = filters
        self.source_names = dict(Source.objects.values_list("pk", "name"))
        self._visible = Task.objects.visible_to(user)
        self._by_role = set(Source.objects.visible_to(user).values_list("pk", flat=True))
        self._sees_all = self._by_role == set(self.source_names)
        self._user = user
        self._samples: dict[HistoryFilters, tuple[Counter[Kind], bool]] = {}

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
            if filters not in self._samples:
                self._samples[filters] = self._one_by_one(filters)
            return self._samples[filters]
        counts, is_capped = self._all_kinds
        wanted = [(filters.source, 0), (filters.node, 1), (filters.type, 2), (filters.outcome, 3)]
        checks = [(value, place) for value, place in wanted if value]
        passing = {kind: n for kind, n in counts.items() if all(kind[place] == v for v, place in checks)}
        return Counter(passing), is_capped

    def by_person(self) -> tuple[Counter[str], bool]:
        limit = PERSON_LIMIT if self.uses_tallies else LIMIT
        tasks, searched_to = self._newest(self.filters.without("person"), limit)
        counts = Counter(dict(tasks.order_by().values_list("person").annotate(n=Count("pk"))))
        return counts, searched_to is not None or counts.total() >= limit

    def count_attention(self) -> tuple[int, bool]:
        """How many failures nobody has acknowledged."""
        filters = dataclasses.replace(self.filters, outcome=ATTENTION)
        tasks, searched_to = self._newest(filters, ATTENTION_LIMIT)
        count = tasks.count()
        return count, searched_to is not None or count >= ATTENTION_LIMIT

    def by_hour(
        self, *, since: datetime | None, until: datetime | None
    ) -> tuple[Counter[tuple[int, str]], datetime | None]:
        """(hours since 1970, outcome) → how many began then, within the filters; None, or how far back was counted."""
        filters = dataclasses.replace(self.filters, since=since, until=until)
        tasks, searched_to = self._newest(filters, LIMIT)
        return _hours(tasks, searched_to)

    def by_hour_of_teams(self) -> tuple[Counter[tuple[int, str]], datetime | None]:
        """The same of what the tallies do not tell: tasks that are seen through a team only."""
        if self._through_teams is None:
            return Counter(), None
        return _hours(_cut(self.filters.apply(self._through_teams), LIMIT), None)

    @cached_property
    def _through_teams(self) -> TaskQuerySet | None:
        """Tasks that the person sees only through a team; None when there cannot be any."""
        team_ids = [] if self._sees_all else list(Team.objects.of(self._user).values_list("pk", flat=True))
        if not team_ids:
            return None
        return Task.objects.of_teams(team_ids).exclude(source__in=self._by_role)

    @cached_property
    def _all_kinds(self) -> tuple[Counter[Kind], bool]:
        """Everything in the stretch of time, for every source that counts by its tallies, and what comes beside."""
        sources = None if self._sees_all else sorted(self._by_role)
        since, until = self.filters.since, self.filters.until
        counts = tallies.count_by_kind(since, until, sources)
        is_capped = False
        for first, last in tallies.edges(since, until):
            rest = Task.objects.filter(started_at__gte=first, started_at__lt=last)
            rest = rest if sources is None else rest.filter(source__in=sources)
            is_capped |= _add(counts, _cut(rest, LIMIT))
        if self._through_teams is not None:
            in_time = HistoryFilters(since=since, until=until)
            is_capped |= _add(counts, _cut(in_time.apply(self._through_teams), LIMIT))
        return counts, is_capped

    def _one_by_one(self, filters: HistoryFilters) -> tuple[Counter[Kind], bool]:
        tasks, searched_to = self._newest(filters, LIMIT)
        counts: Counter[Kind] = Counter()
        return counts, _add(counts, tasks) or searched_to is not None

    def _newest(self, filters: HistoryFilters, limit: int) -> tuple[TaskQuerySet, datetime | None]:
        """At most `limit` tasks that pass; a time when a text was looked for no further back than that."""
        tasks = filters.apply(self._visible)
        if not filters.terms:
            return _cut(tasks, limit), None
        pks, searched_to = self._matches
        return tasks.filter(pk__in=pks), searched_to

    @cached_property
    def _matches(self) -> tuple[list[int], datetime | None]:
        filters = self.filters
        return newest_matches(filters.terms, most=TEXT_LIMIT, since=filters.since, until=filters.until)


def _cut(tasks: TaskQuerySet, limit: int) -> TaskQuerySet:
    return Task.objects.filter(pk__in=tasks.order_by("-started_at", "-pk").values("pk")[:limit])


def _add(counts: Counter[Kind], tasks: TaskQuerySet) -> bool:
    """Add what these tasks are to `counts`; whether they are as many as are counted at most."""
    more = tallies.count_tasks_by_kind(tasks)
    counts.update(more)
    return more.total() >= LIMIT


def _hours(
    tasks: TaskQuerySet, searched_to: datetime | None
) -> tuple[Counter[tuple[int, str]], datetime | None]:
    rows = tasks.order_by().annotate(hour=Hour(F("started_at")), outcome=tallies.OUTCOME)
    found = rows.values_list("hour", "outcome").annotate(n=Count("pk"))
    counts = Counter({(hour, outcome): n for hour, outcome, n in found})
    if searched_to is None and counts.total() >= LIMIT:
        searched_to = datetime.fromtimestamp(min(hour for hour, _ in counts) * 3600, UTC)
    return counts, searched_to
