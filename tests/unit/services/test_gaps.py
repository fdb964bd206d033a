"""Gaps in the history: kept once, seen by those who see the source."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser

from tasks_app.ingest.gaps import store_gap
from tasks_app.models import HistoryGap, Node, Role, TaskEvent
from tasks_app.services.gaps import gaps_for
from tests.factories import make_source, make_superuser, make_team, make_user

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_gap(source, *, node="pve1", since=AT - 5 * HOUR, until=AT - 2 * HOUR):
    row, _ = Node.objects.get_or_create(source=source, name=node)
    return store_gap(row, since=since, until=until, at=AT)


def test_a_gap_is_kept_once_and_tells_the_pages_once():
    source = make_source()
    gap = make_gap(source)
    assert make_gap(source, until=AT - HOUR) is None
    assert list(HistoryGap.objects.values_list("until", flat=True)) == [gap.until]
    assert TaskEvent.objects.filter(source_id=source.pk, kind=TaskEvent.Kind.SOURCE).count() == 1


def test_only_those_with_a_role_on_the_source_see_its_gaps():
    here, there = make_source(), make_source()
    gap = make_gap(here)
    assert list(gaps_for(make_superuser())) == [gap]
    assert list(gaps_for(make_user(Role.VIEWER))) == [gap]
    assert list(gaps_for(make_user(Role.VIEWER, source=here))) == [gap]
    assert not gaps_for(make_user(Role.ADMIN, source=there))
    member = make_user()
    make_team(member)
    assert not gaps_for(member)
    assert not gaps_for(AnonymousUser())


def test_gaps_are_found_by_source_node_and_time_newest_first():
    here, there = make_source(), make_source()
    old = make_gap(here)
    new = make_gap(here, since=AT - HOUR, until=AT)
    other_node = make_gap(here, node="pve2")
    elsewhere = make_gap(there)
    user = make_user(Role.VIEWER)
    assert gaps_for(user)[0] == new
    assert set(gaps_for(user, source=there)) == {elsewhere}
    assert set(gaps_for(user, source=here, node="pve2")) == {other_node}
    assert list(gaps_for(user, source=here, node="pve1", since=AT - 2 * HOUR)) == [new, old]
    assert list(gaps_for(user, source=here, node="pve1", since=AT - 2 * HOUR + HOUR / 2)) == [new]
    assert set(gaps_for(user, source=here, until=AT - 3 * HOUR)) == {old, other_node}


def test_the_source_is_at_hand(django_assert_num_queries):
    make_gap(make_source())
    user = make_superuser()
    with django_assert_num_queries(1):
        assert [gap.node.source.name for gap in gaps_for(user)]
