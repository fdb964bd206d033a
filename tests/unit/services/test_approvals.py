"""Approving and rejecting: who may, what starts, what is released, and who is told."""

import pytest

from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import Machine, Notice, Order, Role, Stage
from tasks_app.services import approvals, orders
from tests.factories import make_superuser, make_user
from tests.unit.services.making import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World(approval="always")


def told(user):
    return list(Notice.objects.filter(user=user).order_by("pk").values_list("text", flat=True))


def test_an_order_waits_and_team_admins_are_told(world):
    order = world.order(2)
    world.run()
    assert order.decision == Order.Decision.WAITING
    assert world.stages() == ["approval"] * 2
    assert told(world.admin) == ["ann asks for web-debian-batch-1 (2 machines) in Web."]
    assert world.remote.calls == []


def test_without_team_admins_the_admins_of_the_portal_are_told(world):
    portal_admin, superuser = make_user(Role.ADMIN), make_superuser()
    world.team.admins.clear()
    world.order()
    assert len(told(portal_admin)) == len(told(superuser)) == 1


def test_what_waits_holds_its_quota(world):
    world.order(2)
    assert Machine.objects.holding_quota().count() == 2


def test_approved_it_starts_and_the_requester_sees_who_and_why(world, audited):
    order = world.order()
    approvals.approve(order, actor=world.admin, reason="for class")
    assert (order.decision, order.decided_by_name, order.decision_reason) == (
        "approved",
        "boss",
        "for class",
    )
    world.run()
    assert world.stages() == ["ready"]
    assert told(world.member)[0] == "boss has approved web-debian-01. “for class”"
    assert audited()[:2] == ["order.submit", "order.approve"]
    assert set(audited()[2:]) == {"task.began"}


def test_rejected_it_releases_everything(world, audited):
    order = world.order(2)
    approvals.reject(order, actor=world.admin, reason="too many")
    assert world.stages() == ["rejected"] * 2
    assert not Machine.objects.holding_quota().exists()
    assert told(world.member) == ["boss has rejected web-debian-batch-1: “too many”"]
    assert audited() == ["order.submit", "order.reject"]
    world.run()
    assert world.remote.calls == []


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_rejection_says_why(world, reason):
    with pytest.raises(InvalidInput) as caught:
        approvals.reject(world.order(), actor=world.admin, reason=reason)
    assert list(caught.value.fields) == ["reason"]


def test_it_is_decided_once(world):
    order = world.order()
    approvals.approve(order, actor=world.admin)
    with pytest.raises(Refused):
        approvals.reject(order, actor=world.admin, reason="no")
    assert Machine.objects.get().stage == Stage.QUEUED


def test_only_admins_of_the_team_and_of_the_portal_decide(world):
    order = world.order()
    for actor in (world.member, make_user(), make_user(Role.OPERATOR), make_user(Role.AUDITOR)):
        with pytest.raises(NotPermitted):
            approvals.approve(order, actor=actor)
        assert not approvals.waiting_for(actor).exists()
    for actor in (world.admin, make_user(Role.ADMIN), make_superuser()):
        assert list(approvals.waiting_for(actor)) == [order]


def test_a_withdrawn_order_waits_for_nobody(world):
    order = world.order(2)
    orders.cancel_order(order, actor=world.member)
    assert not approvals.waiting_for(world.admin).exists()
    with pytest.raises(Refused):
        approvals.approve(order, actor=world.admin)


def test_an_order_of_which_one_is_withdrawn_still_waits_for_the_rest(world):
    order = world.order(2)
    orders.cancel_machine(world.machine(1), actor=world.member)
    assert list(approvals.waiting_for(world.admin)) == [order]
    approvals.approve(order, actor=world.admin)
    world.run()
    assert world.stages() == ["cancelled", "ready"]
