"""The frame of a page tells the same verbs as the policy, in two queries."""

import pytest
from django.contrib.auth.models import AnonymousUser

from tasks_app.access.overview import Overview, overview_of
from tasks_app.access.policy import Verb, can
from tasks_app.models import Order, Role
from tasks_app.services.notices import notify
from tests.factories import make_item, make_order, make_source, make_superuser, make_team, make_user

pytestmark = pytest.mark.django_db

SHOWN = [
    Verb.ORDER, Verb.SEE_ITEM, Verb.APPROVE, Verb.SEE_TEAM, Verb.MANAGE_PEOPLE, Verb.SET_LIMITS, Verb.MANAGE_ITEM,
]  # fmt: skip


def everybody():
    member, lead = make_user(), make_user()
    make_team(member, admins=(lead,))
    yield from (member, lead, make_user(), make_superuser(), make_superuser(is_active=False))
    for role in Role:
        yield make_user(role)
        yield make_user(role, source=make_source())


def test_it_tells_what_the_policy_tells():
    for person in everybody():
        seen = overview_of(person)
        assert {verb for verb in SHOWN if verb in seen.verbs} == {verb for verb in SHOWN if can(person, verb)}


def test_nobody_sees_nothing():
    assert overview_of(AnonymousUser()) == Overview()


def test_it_counts_what_waits_for_this_person():
    lead, other = make_user(), make_user()
    item = make_item()
    team = make_team(admins=(lead,), items=(item,))
    for decision in (Order.Decision.WAITING, Order.Decision.WAITING, Order.Decision.APPROVED):
        make_order(team, item=item, decision=decision)
    make_order(decision=Order.Decision.WAITING)
    notify([lead, other], key="one", text="…")
    notify([lead], key="two", text="…")
    assert (overview_of(lead).waiting, overview_of(lead).unread) == (2, 2)
    assert (overview_of(other).waiting, overview_of(other).unread) == (0, 1)
    assert overview_of(make_user(Role.ADMIN)).waiting == 3
    assert overview_of(make_superuser()).waiting == 3


def test_it_takes_two_queries(django_assert_num_queries):
    person = make_user(Role.OPERATOR)
    with django_assert_num_queries(2):
        overview_of(person)
