"""Accepting orders, and the deeds on them: who may, what they change, and what they leave in the audit trail."""

import pytest

from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import AuditEntry, Machine, Order, Role, Stage, Submission
from tasks_app.models.team import Profile
from tasks_app.services import orders
from tasks_app.services.quotas import QuotaExceeded
from tests.factories import make_guest, make_superuser, make_user
from tests.unit.services.making import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World()


def test_an_order_is_written_with_all_it_reserves(world, audited, queued):
    Profile.objects.create(user=world.member, ssh_keys="ssh-ed25519 AAAA ann\r\n\r\n  ssh-rsa BBBB x ")
    order = world.order(2, reason=" for class ", lease_days=3)
    machine = world.machine(2)
    assert (order.title, order.reason, order.decision) == ("web-debian-batch-1", "for class", "not_needed")
    assert (machine.name, machine.vmid, machine.stage, machine.owner) == (
        "web-debian-02",
        101,
        Stage.QUEUED,
        world.member,
    )
    assert machine.ssh_keys == "ssh-ed25519 AAAA ann\nssh-rsa BBBB x"
    assert (machine.cores, machine.memory_mb, machine.disk_gb, machine.grow_disk_gb) == (2, 1024, 16, 16)
    assert abs((machine.expires_at - machine.created_at).days - 3) <= 1
    assert audited() == ["order.submit"]
    assert AuditEntry.objects.get().data["machines"] == [["web-debian-01", 100], ["web-debian-02", 101]]


def test_the_pump_is_started_after_the_commit(world, queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        world.order()
    assert ("pump", ()) in queued()


def test_the_same_key_gives_the_same_order(world, audited):
    first = world.order(2)
    assert world.order(5) == first
    assert Machine.objects.count() == 2
    assert audited() == ["order.submit"]


def test_keys_of_other_people_do_not_matter(world):
    first = world.order()
    second = world.order(actor=world.admin)
    assert first != second


def test_one_machine_gives_its_name_to_the_order(world):
    assert world.order(rows=[orders.Wanted("Db-1")]).title == "db-1"


def test_a_row_with_a_problem_stops_the_order_and_is_named(world):
    with pytest.raises(InvalidInput) as caught:
        world.order(rows=[orders.Wanted("ok"), orders.Wanted("not ok")])
    assert list(caught.value.fields) == ["row-2-name"]
    assert not Order.objects.exists()


def test_only_the_valid_rows_when_that_is_asked_for(world):
    order = world.order(rows=[orders.Wanted("ok"), orders.Wanted("not ok")], only_valid=True)
    assert [machine.name for machine in order.machines.all()] == ["ok"]


def test_without_any_valid_row_there_is_no_order(world):
    with pytest.raises(InvalidInput):
        world.order(rows=[orders.Wanted("not ok")], only_valid=True)


def test_an_order_beyond_the_quota_is_refused_and_its_valid_part_is_not():
    world = World(team={"max_machines": 2})
    with pytest.raises(QuotaExceeded, match="only 2 machines left of 2"):
        world.order(3)
    assert world.order(3, only_valid=True).machines.count() == 2


def test_a_switched_off_item_cannot_be_ordered(world):
    world.item.is_enabled = False
    world.item.save()
    with pytest.raises(InvalidInput) as caught:
        world.order()
    assert "item" in caught.value.fields


@pytest.mark.parametrize("key", ["", "x" * 65])
def test_a_key_is_needed(world, key):
    with pytest.raises(InvalidInput):
        world.order(key=key)


def test_strangers_viewers_and_operators_do_not_order(world):
    for actor in (make_user(), make_user(Role.VIEWER), make_user(Role.OPERATOR), make_user(Role.ADMIN)):
        with pytest.raises(NotPermitted):
            world.order(actor=actor)


def test_an_item_that_the_team_was_not_granted_cannot_be_ordered(world):
    world.team.items.clear()
    with pytest.raises(NotPermitted):
        world.order()


# deeds

DEEDS = {
    "cancel": lambda order, actor: orders.cancel_order(order, actor=actor),
    "pause": lambda order, actor: orders.pause_order(order, actor=actor),
    "resume": lambda order, actor: orders.resume_order(order, actor=actor),
    "retry": lambda order, actor: orders.retry_failed(order, actor=actor, idempotency_key="r"),
    "roll back": lambda order, actor: orders.roll_back(order, actor=actor, typed=order.title),
    "cancel one": lambda order, actor: orders.cancel_machine(order.machines.first(), actor=actor),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_orderer_team_admin_operator_and_superuser_steer_an_order(world, deed):
    for number, actor in enumerate((world.member, world.admin, make_user(Role.OPERATOR), make_superuser())):
        DEEDS[deed](world.order(2, key=str(number)), actor)


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_else_does(world, deed):
    order = world.order(2)
    colleague = make_user()
    colleague.groups.add(world.team.group)
    for actor in (make_user(), make_user(Role.VIEWER), make_user(Role.AUDITOR), colleague):
        with pytest.raises(NotPermitted):
            DEEDS[deed](order, actor)
    assert set(world.stages()) == {"queued"}


def test_who_has_left_the_team_steers_no_more(world):
    order = world.order()
    world.member.groups.clear()
    with pytest.raises(NotPermitted):
        orders.cancel_order(order, actor=world.member)


def test_each_deed_is_audited_once(world, audited):
    order = world.order(2)
    for _ in range(2):
        orders.pause_order(order, actor=world.member)
    for _ in range(2):
        orders.resume_order(order, actor=world.member)
    for _ in range(2):
        orders.cancel_order(order, actor=world.member)
    assert audited() == ["order.submit", "order.pause", "order.resume", "order.cancel"]


def test_a_finished_order_cannot_be_paused(world):
    order = world.order()
    world.run()
    with pytest.raises(Refused):
        orders.pause_order(order, actor=world.member)


def test_a_machine_that_exists_is_not_cancelled(world):
    world.order()
    world.run()
    with pytest.raises(Refused, match="exists already"):
        orders.cancel_machine(world.machine(), actor=world.member)


def test_one_machine_is_cancelled_and_the_others_go_on(world, audited):
    world.order(3)
    orders.cancel_machine(world.machine(2), actor=world.member)
    world.run()
    assert world.stages() == ["ready", "cancelled", "ready"]
    assert audited().count("machine.cancel") == 1


def test_the_owner_may_cancel_a_machine_that_others_ordered(world):
    colleague = make_user(username="col")
    colleague.groups.add(world.team.group)
    world.order(rows=[orders.Wanted(owner="col")])
    orders.cancel_machine(world.machine(), actor=colleague)
    assert world.stages() == ["cancelled"]


def test_a_roll_back_needs_the_title(world):
    order = world.order(2)
    with pytest.raises(InvalidInput) as caught:
        orders.roll_back(order, actor=world.member, typed="yes")
    assert list(caught.value.fields) == ["typed"]
    assert world.stages() == ["queued"] * 2


# retry


def fail_one(world, order):
    world.remote.ends["qmclone"] = ["broken"]
    world.run()
    assert orders.progress(order).failed == 1


def test_only_what_failed_is_tried_again(world):
    order = world.order(3)
    fail_one(world, order)
    assert orders.retry_failed(order, actor=world.member, idempotency_key="r") == 1
    world.run()
    assert world.stages() == ["ready"] * 3
    assert len(world.remote.vmids) == 3
    assert Submission.objects.filter(step="clone").count() == 4


def test_a_double_click_retries_once(world):
    order = world.order()
    fail_one(world, order)
    orders.retry_failed(order, actor=world.member, idempotency_key="r")
    world.remote.ends["qmclone"] = ["broken"]
    world.run()
    assert orders.retry_failed(order, actor=world.member, idempotency_key="r") == 0
    assert world.stages() == ["failed"]


def test_a_retry_needs_the_quota_that_was_released():
    world = World(team={"max_machines": 1})
    order = world.order()
    fail_one(world, order)
    world.order(key="other")
    with pytest.raises(QuotaExceeded):
        orders.retry_failed(order, actor=world.member, idempotency_key="r")
    assert Machine.objects.get(order=order).stage == Stage.FAILED


def test_a_name_that_was_taken_meanwhile_is_not_taken_back(world):
    order = world.order()
    fail_one(world, order)
    make_guest(world.source, name=world.machine().name)
    assert orders.retry_failed(order, actor=world.member, idempotency_key="r") == 0
    assert "has been taken" in world.machine().error


def test_a_retry_goes_on_with_an_order_that_its_failure_has_stopped():
    world = World(team={"max_parallel_clones": 1})
    order = world.order(3, on_failure="stop_first")
    fail_one(world, order)
    assert world.stages() == ["failed", "queued", "queued"]
    orders.retry_failed(order, actor=world.member, idempotency_key="r")
    world.run()
    assert world.stages() == ["ready"] * 3


# what pages ask


def test_progress_counts_every_machine_once(world):
    order = world.order(2)
    shown = orders.progress(order)
    assert (shown.queued, shown.total, shown.is_final) == (2, 2, False)
    world.run()
    shown = orders.progress(order)
    assert (shown.done, shown.total, shown.is_final, shown.groups) == (2, 2, True, [])


def test_a_machine_knows_how_many_are_ahead(world):
    world.order(3)
    assert [orders.ahead_of(machine) for machine in Machine.objects.order_by("position")] == [0, 1, 2]
