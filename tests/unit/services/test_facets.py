"""Counts beside the history: the same as counting every task by hand, in few queries, honest where they are capped."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils.timezone import now

from tasks_app.ingest.texts import index_batch
from tasks_app.models import Role, Source, Task
from tasks_app.services import counting, tallies
from tasks_app.services.facets import facets, grid, histogram, overview
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.states import OUTCOMES, outcome_of
from tests.factories import make_generation, make_source, make_task, make_team, make_user

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


@pytest.fixture
def people(db):
    """A history of 500 days on two clusters, an auditor of all, and a viewer of the second cluster."""
    chance = random.Random(4)
    sources = [make_source(name="one"), make_source(name="two")]
    for number in range(160):
        make_task(
            chance.choice(sources),
            type=chance.choice(["qmstart", "vzdump", "qmclone"]),
            node=chance.choice(["pve1", "pve2"]),
            state=chance.choice(["completed", "completed", "failed", "lost", "cancelled"]),
            warnings=0,
            person=chance.choice(["Ann", "Bob", ""]),
            object_id=str(chance.choice([100, 303])),
            started_at=NOW
            - timedelta(hours=chance.choice([1, 40, 400, 12_000]) * chance.random() + 0.01 * number),
            search_text=chance.choice(["backup of web", "start of db"]),
        )
    Task.objects.filter(state="completed", type="vzdump").update(warnings=2)
    Task.objects.filter(state="failed", node="pve1").update(acknowledged_at=NOW)
    while index_batch():
        pass
    return make_user(Role.AUDITOR), make_user(Role.VIEWER, source=sources[1])


def dates(**spans):
    return {name: NOW - timedelta(**span) for name, span in spans.items()}


FILTERS = {
    "nothing": HistoryFilters(),
    "type": HistoryFilters(type="vzdump"),
    "type, node and outcome": HistoryFilters(type="vzdump", node="pve1", outcome="warnings"),
    "completed": HistoryFilters(outcome="completed"),
    "last 30 days": HistoryFilters(**dates(since={"days": 30})),
    "a year": HistoryFilters(**dates(since={"days": 400, "hours": 3}, until={"days": 2, "minutes": 7})),
    "hours": HistoryFilters(**dates(since={"hours": 30}, until={"hours": 2})),
    "within a day": HistoryFilters(**dates(since={"hours": 3}, until={"hours": 1})),
    "no time at all": HistoryFilters(**dates(since={"hours": 1}, until={"hours": 3})),
    "person": HistoryFilters(person="Ann"),
    "unknown person, failed": HistoryFilters(person="unknown", outcome="failed"),
    "VMID": HistoryFilters(vmid=303, type="qmclone"),
    "text": HistoryFilters(text="backup"),
    "text and type": HistoryFilters(text="backup", type="qmclone"),
    "attention": HistoryFilters(outcome="attention", type="qmstart"),
}
with_filters = pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
as_both = pytest.mark.parametrize("who", [0, 1], ids=["all sources", "one source"])


def by_hand(user, filters):
    """The tasks that pass, one by one."""
    tasks = list(filters.apply(Task.objects.visible_to(user)))
    return [task for task in tasks if all(term in task.text.text for term in filters.terms)]


def counts(values):
    return {value.value: value.count for value in values if value.count}


@as_both
@with_filters
def test_facets_are_what_counting_by_hand_gives_without_their_own_filter(people, who, filters):
    user = people[who]
    seen = facets(user, filters)
    for name, key in {
        "type": lambda task: task.type,
        "node": lambda task: task.node,
        "source": lambda task: str(task.source_id),
        "person": lambda task: task.person or "unknown",
        "outcome": lambda task: outcome_of(task.state, task.warnings),
    }.items():
        wanted = Counter(key(task) for task in by_hand(user, filters.without(name)))
        found = counts(getattr(seen, name))
        found.pop("attention", None)
        assert found == wanted, name
        assert not any(value.is_capped for value in getattr(seen, name))
    waiting = by_hand(
        user,
        HistoryFilters(
            **{n: getattr(filters, n) for n in HistoryFilters.__slots__} | {"outcome": "attention"}
        ),
    )
    assert counts(seen.outcome).get("attention", 0) == len(waiting)


@as_both
@with_filters
def test_the_grid_has_every_type_and_outcome_failures_first(people, who, filters):
    user = people[who]
    seen = grid(user, filters)
    wanted = Counter(
        (task.type, outcome_of(task.state, task.warnings))
        for task in by_hand(user, filters.without("type", "outcome"))
    )
    found = {(row.type, cell.value): cell.count for row in seen.rows for cell in row.cells if cell.count}
    assert found == wanted
    assert [outcome for outcome, _ in seen.outcomes] == [o for o in OUTCOMES if o in {o for _, o in wanted}]
    failures = [sum(c.count for c in row.cells if c.value in ("failed", "lost")) for row in seen.rows]
    assert failures == sorted(failures, reverse=True)


@as_both
@with_filters
def test_the_histogram_has_each_task_in_its_bucket(people, who, filters):
    user = people[who]
    seen = histogram(user, filters)
    tasks = by_hand(user, filters)
    assert sum(bucket.total for bucket in seen.buckets) == len(tasks)
    for bucket in seen.buckets:
        inside = [t for t in tasks if bucket.since <= t.started_at < bucket.until]
        assert bucket.counts == Counter(outcome_of(t.state, t.warnings) for t in inside)
    ends = [bucket.until for bucket in seen.buckets]
    assert ends[:-1] == [bucket.since for bucket in seen.buckets[1:]]
    assert len(seen.buckets) <= 75
    assert seen.counted_to is None


@pytest.mark.parametrize(
    ("length", "step"),
    [
        ({"hours": 5}, "hour"),
        ({"days": 3}, "hour"),
        ({"days": 4}, "day"),
        ({"days": 62}, "day"),
        ({"days": 70}, "week"),
        ({"days": 433}, "week"),
        ({"days": 450}, "month"),
    ],
    ids=str,
)
def test_buckets_are_about_sixty_whatever_the_time(people, length, step):
    seen = histogram(people[0], HistoryFilters(since=NOW - timedelta(**length), until=NOW))
    assert seen.step == step
    assert len(seen.buckets) <= 75
    assert (seen.buckets[0].since, seen.buckets[-1].until) == (NOW - timedelta(**length), NOW)


@with_filters
def test_work_is_a_bounded_number_of_queries(people, filters, django_assert_max_num_queries):
    with django_assert_max_num_queries(26):
        overview(people[0], filters)


def test_what_is_not_all_says_so(people, monkeypatch):
    monkeypatch.setattr(counting, "LIMIT", 10)
    filters = HistoryFilters(person="Ann")
    seen = overview(people[0], filters)
    assert sum(value.count for value in seen.facets.node) == 10
    assert all(value.is_capped for value in seen.facets.node)
    assert all(cell.is_capped for row in seen.grid.rows for cell in row.cells)
    newest = sorted(task.started_at for task in by_hand(people[0], filters))[-10]
    assert seen.histogram.counted_to == newest.replace(minute=0, second=0, microsecond=0)


def test_of_a_text_the_newest_matches_are_counted(people, monkeypatch):
    monkeypatch.setattr(counting, "TEXT_LIMIT", 5)
    seen = overview(people[0], HistoryFilters(text="backup"))
    assert sum(value.count for value in seen.facets.type) == 5
    assert all(value.is_capped for value in seen.facets.type)
    assert seen.histogram.counted_to is not None


@pytest.mark.django_db
def test_a_member_of_a_team_counts_the_tasks_of_the_team_and_nothing_else():
    member = make_user()
    make_generation(team=make_team(member), state="completed")
    make_task()
    for filters in (HistoryFilters(), HistoryFilters(since=now() - timedelta(days=30))):
        seen = overview(member, filters)
        assert counts(seen.facets.type) == {"video": 1}
        assert [row.type for row in seen.grid.rows] == ["video"]
        assert sum(bucket.total for bucket in seen.histogram.buckets) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("since", [None, 5, 200])
def test_what_a_team_adds_to_a_role_is_counted_once(since):
    mine = make_source()
    person = make_user(Role.VIEWER, source=mine)
    team = make_team(person)
    make_task(mine, type="vzdump")
    make_generation(mine, team=team, state="completed")
    make_generation(team=team, state="completed")
    make_task()
    filters = HistoryFilters(since=now() - timedelta(days=since) if since else None)
    seen = overview(person, filters)
    assert counts(seen.facets.type) == {"video": 2, "vzdump": 1}
    assert sum(bucket.total for bucket in seen.histogram.buckets) == 3


@pytest.mark.django_db
def test_a_stranger_and_an_empty_portal_have_nothing_to_count():
    for user in (make_user(), make_user(Role.AUDITOR)):
        seen = overview(user, HistoryFilters())
        assert (seen.facets.type, seen.grid.rows, seen.histogram.buckets) == ([], [], [])
    make_task()
    assert overview(make_user(), HistoryFilters()).facets.type == []


def test_what_is_chosen_stays_to_be_seen_when_nothing_is_left_of_it(people):
    seen = facets(people[1], HistoryFilters(type="wipedisk", source=Source.objects.get(name="one").pk))
    assert [(v.value, v.count) for v in seen.type if v.is_chosen] == [("wipedisk", 0)]
    assert [v.count for v in seen.source if v.is_chosen] == [0]


@pytest.mark.parametrize("grains", ["ymwd", "md", "wd", "d"])
def test_any_days_are_put_together_without_gap_or_overlap(grains):
    chance = random.Random(5)
    for _ in range(200):
        first = date(2024, 1, 1) + timedelta(days=chance.randrange(900))
        last = first + timedelta(days=chance.choice([1, 3, 10, 40, 500]))
        days: list[date] = []
        for grain, part in tallies.split(tallies.Stretch(first, last), grains):
            assert tallies.first_of(grain, part.first) == part.first
            assert tallies.first_of(grain, part.last) == part.last
            days += [part.first + timedelta(days=n) for n in range((part.last - part.first).days)]
        assert sorted(days) == [first + timedelta(days=n) for n in range((last - first).days)]
