"""Whose clone starts next, and how many at once."""

import threading

import pytest
from django.db import connection
from django.utils.timezone import now

from tasks_app.models import Machine, Order, Submission
from tasks_app.services import orders
from tasks_app.services.clone_queue import start_due
from tests.factories import make_item, make_task, make_team, make_user
from tests.unit.services.making import World

pytestmark = pytest.mark.django_db


def cloning():
    return list(Machine.objects.filter(stage="clone").order_by("pk").values_list("name", flat=True))


@pytest.fixture
def limits(settings):
    """Wide, so that each test narrows one."""
    settings.CLONES_PER_TEMPLATE = settings.CLONES_PER_STORAGE = settings.CLONES_PER_CLUSTER = 50
    return settings


@pytest.mark.parametrize("name", ["CLONES_PER_TEMPLATE", "CLONES_PER_STORAGE", "CLONES_PER_CLUSTER"])
def test_a_limit_is_kept(limits, name):
    setattr(limits, name, 3)
    world = World(team={"max_parallel_clones": 50})
    world.order(5)
    assert len(start_due(world.source.pk)) == 3
    assert start_due(world.source.pk) == []
    assert len(cloning()) == 3


def test_a_team_has_its_own_limit(limits):
    world = World(team={"max_parallel_clones": 2})
    world.order(5)
    assert len(start_due(world.source.pk)) == 2


def test_clones_of_a_running_guest_run_one_after_another(limits):
    world = World(team={"max_parallel_clones": 50})
    world.template.is_template, world.template.status = False, "running"
    world.template.save()
    world.order(3)
    for _ in range(3):
        assert len(start_due(world.source.pk)) == 1
        Submission.objects.update(state="completed")


def test_a_stopped_guest_is_like_a_template(limits):
    world = World(team={"max_parallel_clones": 50})
    world.template.is_template = False
    world.template.save()
    world.order(3)
    assert len(start_due(world.source.pk)) == 3


def test_clones_that_others_run_count(limits):
    limits.CLONES_PER_TEMPLATE = 2
    world = World(team={"max_parallel_clones": 50})
    make_task(world.source, type="qmclone", object_id="9000", state="processing")
    make_task(world.source, type="qmclone", object_id="9000", state="completed")
    world.order(3)
    assert len(start_due(world.source.pk)) == 1


def test_our_own_clones_are_not_counted_twice(limits):
    limits.CLONES_PER_TEMPLATE = 2
    world = World(team={"max_parallel_clones": 50})
    world.order(3)
    world.pump()
    world.observe()
    assert len(world.remote.running()) == 2
    world.remote.finish(world.remote.running()[0])
    world.pump()
    assert len(world.remote.running("clone")) == 2


def test_teams_take_turns(limits):
    limits.CLONES_PER_TEMPLATE = 1
    world = World()
    other = make_user()
    team = make_team(other, items=(world.item,), slug="b")
    world.order(3)
    world.order(2, actor=other, team=team, key="b")
    begun = []
    for _ in range(5):
        begun += [Machine.objects.get(pk=pk).name for pk in start_due(world.source.pk)]
        Submission.objects.update(state="completed")
    assert begun == ["web-debian-01", "b-debian-01", "web-debian-02", "b-debian-02", "web-debian-03"]


def test_orders_of_one_team_take_turns(limits):
    limits.CLONES_PER_TEMPLATE = 2
    world = World()
    first = world.order(3)
    second = world.order(1, key="second")
    start_due(world.source.pk)
    assert set(Machine.objects.filter(stage="clone").values_list("order", flat=True)) == {first.pk, second.pk}


def test_a_full_storage_does_not_hold_up_another(limits):
    limits.CLONES_PER_STORAGE = 1
    world = World(team={"max_parallel_clones": 50}, storage="slow")
    item = make_item(world.source, slug="other", storage="fast")
    world.team.items.add(item)
    world.order(2)
    world.order(1, item=item, key="other")
    start_due(world.source.pk)
    assert sorted(Machine.objects.filter(stage="clone").values_list("storage", flat=True)) == ["fast", "slow"]


@pytest.mark.parametrize("change", [{"paused_at": now()}, {"decision": "waiting"}, {"decision": "rejected"}])
def test_paused_and_undecided_orders_wait(limits, change):
    world = World()
    world.order()
    Order.objects.update(**change)
    assert start_due(world.source.pk) == []


def test_a_cancelled_machine_does_not_start(limits):
    world = World()
    world.order()
    Machine.objects.update(cancel_requested_at=now())
    assert start_due(world.source.pk) == []


def test_a_vanished_template_fails_the_machine_with_the_reason(limits):
    world = World()
    order = world.order()
    world.template.gone_at = now()
    world.template.save()
    assert start_due(world.source.pk) == []
    machine = order.machines.get()
    assert (machine.stage, machine.ended_at is not None) == ("failed", True)
    assert "template 9000 is not on the source" in machine.error


def test_a_failure_at_the_start_stops_an_order_that_stops_at_the_first(limits):
    world = World(team={"max_parallel_clones": 50})
    world.order(3, on_failure="stop_first")
    world.template.gone_at = now()
    world.template.save()
    start_due(world.source.pk)
    assert sorted(world.stages()) == ["failed", "queued", "queued"]


def test_an_open_node_waits_while_the_source_does_not_tell(limits):
    world = World(placement="automatic", storage="ceph")
    world.order()
    assert start_due(world.source.pk) == []
    assert world.stages() == ["queued"]


def test_the_number_ahead_follows_the_turns(limits):
    world = World()
    other = make_user()
    team = make_team(other, items=(world.item,), slug="b")
    world.order(3)
    second = world.order(1, actor=other, team=team, key="b")
    assert orders.ahead_of(second.machines.get()) == 1


@pytest.mark.django_db(transaction=True)
def test_two_jobs_at_once_fill_the_room_once(settings):
    settings.CLONES_PER_TEMPLATE = 3
    world = World(team={"max_parallel_clones": 50})
    world.order(10)
    barrier, results = threading.Barrier(4), []

    def start(_):
        try:
            barrier.wait(10)
            results.append(start_due(world.source.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(map(len, results)) == 3
    assert Submission.objects.count() == 3
