"""A machine in the making is cancelled, paused or rolled back, and asked for its addresses in the end."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import Machine, Stage, Submission, Task
from tasks_app.services import addresses, orders, pipeline
from tasks_app.services.cancellation import deliver_cancel
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.guests import AddressGap, GuestAddresses
from tests.unit.services.making import SILENT, World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World()


# cancelling


def test_a_queued_machine_is_withdrawn_without_a_call(world):
    order = world.order()
    orders.cancel_order(order, actor=world.member)
    world.run()
    assert world.stages() == ["cancelled"]
    assert world.machine().ended_at is not None
    assert world.remote.calls == []


def test_a_running_clone_is_stopped_and_leaves_nothing(world):
    world.order()
    world.pump()
    orders.cancel_machine(world.machine(), actor=world.member)
    world.pump()
    deliver_cancel(Task.objects.get().pk, client=world.remote)
    world.pump()
    machine = world.machine()
    assert (machine.stage, machine.exists, machine.leftovers) == (
        Stage.CANCELLED,
        False,
        "Nothing was left behind.",
    )
    assert machine.ended_at is not None
    assert world.remote.vmids == []


def test_a_clone_not_yet_called_is_withdrawn(world):
    world.remote.fails["clone_guest"] = [SourceUnavailable("down", kind="refused")]
    world.order()
    world.pump()
    assert world.stages() == ["clone"]
    orders.cancel_machine(world.machine(), actor=world.member)
    Submission.objects.update(next_attempt_at=now())
    world.pump()
    assert world.stages() == ["cancelled"]
    assert world.remote.vmids == []


def test_a_cancel_that_comes_too_late_leaves_a_machine_that_holds_its_quota(world):
    world.order()
    world.pump()
    for upid in world.remote.running():
        world.remote.finish(upid)
    orders.cancel_machine(world.machine(), actor=world.member)
    world.pump()
    machine = world.machine()
    assert (machine.stage, machine.exists, machine.ended_at) == (Stage.CANCELLED, True, None)
    assert machine.error == pipeline.TOO_LATE


def test_a_pause_stops_only_what_has_not_begun():
    world = World(team={"max_parallel_clones": 1})
    order = world.order(3)
    world.pump()
    orders.pause_order(order, actor=world.member)
    world.run()
    assert world.stages() == ["ready", "queued", "queued"]
    orders.resume_order(order, actor=world.member)
    world.run()
    assert world.stages() == ["ready"] * 3


def test_a_roll_back_deletes_everything_of_the_order(world):
    order = world.order(3)
    world.run()
    orders.roll_back(order, actor=world.member, typed=order.title)
    world.run()
    assert world.stages() == ["gone"] * 3
    assert world.remote.vmids == []
    assert not Machine.objects.holding_quota().exists()


def test_a_roll_back_takes_what_is_still_being_made():
    world = World(team={"max_parallel_clones": 2})
    order = world.order(4)
    world.pump()
    for upid in world.remote.running()[:1]:
        world.remote.finish(upid)
    world.pump()
    assert sorted(set(world.stages())) == ["clone", "queued", "resize"]
    orders.roll_back(order, actor=world.member, typed=order.title)
    world.pump()
    for task in Task.objects.cancels_waiting():
        deliver_cancel(task.pk, client=world.remote)
    world.run()
    assert set(world.stages()) <= {"gone", "cancelled"}
    assert world.remote.vmids == []
    assert not Machine.objects.holding_quota().exists()


# addresses


def test_a_silent_agent_is_asked_for_two_minutes(world):
    world.order()
    for _ in range(4):
        world.finish()
    world.remote.answers = [SILENT, SILENT]
    world.look()
    assert world.stages() == ["address"]
    Machine.objects.update(stage_at=now() - timedelta(minutes=3))
    world.look()
    machine = world.machine()
    assert (machine.stage, machine.addresses) == (Stage.READY, [])
    assert machine.address_note == AddressGap.SILENT.sentence


def test_without_an_agent_it_is_ready_at_once_and_says_why(world):
    world.remote.answers = [GuestAddresses(gap=AddressGap.NO_AGENT)]
    world.order()
    world.run()
    machine = world.machine()
    assert (machine.stage, machine.addresses) == (Stage.READY, [])
    assert machine.address_note == AddressGap.NO_AGENT.sentence


def test_two_jobs_ask_a_guest_once(world):
    world.order()
    for _ in range(4):
        world.finish()
    Machine.objects.update(next_look_at=now())
    world.remote.answers = [SILENT, SILENT]
    addresses.look_for_addresses(client=world.remote)
    addresses.look_for_addresses(client=world.remote)
    assert world.remote.count("fetch_addresses") == 1
