"""Machines are made step by step, each call once, whatever fails and wherever a worker dies."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import CatalogItem, Machine, Notice, Order, Stage, Submission, Task
from tasks_app.services import orders, pipeline
from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.states import State
from tests.factories import make_guest
from tests.unit.services.making import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world():
    return World()


def test_a_machine_passes_through_all_stages(world):
    world.order()
    seen = [world.stages()[0]]
    for step in (world.pump, world.finish, world.finish, world.finish, world.look):
        step()
        seen.append(world.stages()[0])
    assert seen == ["queued", "clone", "resize", "start", "address", "ready"]
    machine = world.machine()
    assert (machine.exists, machine.addresses, machine.error) == (True, [f"10.0.0.{machine.vmid % 250}"], "")
    assert machine.differences == []
    assert [s.step for s in machine.submissions.order_by("pk")] == ["clone", "configure", "resize", "start"]
    assert all(s.state == State.COMPLETED for s in machine.submissions.all())


def test_what_the_template_handed_down_is_cleaned(world):
    world.order()
    world.run()
    config = world.remote.configs[world.machine().vmid]
    assert "protection" not in config
    assert "tags" not in config
    assert "golden" not in config["description"]
    assert (config["cores"], config["memory"], config["scsi0"].endswith("size=16G")) == (2, 1024, True)


def test_a_disk_that_is_large_enough_is_left_alone():
    world = World(sizes=[{"key": "S", "label": "S", "cores": 1, "memory_mb": 512, "disk_gb": 0}])
    world.order()
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("resize_disk") == 0


def test_a_machine_that_is_not_to_run_ends_without_an_address():
    world = World(starts=False)
    world.order()
    world.run()
    machine = world.machine()
    assert (machine.stage, machine.address_note) == (Stage.READY, pipeline.NOT_STARTED)
    assert world.remote.count("start_guest") == 0


def test_a_guest_that_is_not_as_ordered_says_so(world):
    world.order()
    world.pump()
    stubborn = world.machine().vmid
    for upid in world.remote.running():
        world.remote.finish(upid)
    world.remote.stubborn = {"cores": 1}
    world.run()
    assert world.remote.configs[stubborn]["cores"] == 1
    assert world.machine().differences == ["The cores is not as ordered: the guest has “1”."]


def test_a_container_is_made_from_an_os_template():
    world = World(
        kind=CatalogItem.Kind.LXC_CREATE,
        vmid=None,
        ostemplate="local:vztmpl/debian-13.tar.zst",
        storage="local",
        template_disk_gb=0,
        template_disks_gb=0,
        disk_key="rootfs",
        bridge="vmbr0",
        ip_mode="dhcp",
        placement="fixed",
        nodes=["pve1"],
    )
    world.order()
    Machine.objects.update(node="pve1")  # where placement, tested elsewhere, has put it
    world.run()
    machine = world.machine()
    assert (machine.stage, machine.error, machine.differences) == (Stage.READY, "", [])
    call = next(call for call in world.remote.calls if call[0] == "create_container")
    assert call[3] == machine.vmid
    assert call[4]["network"] == "name=eth0,bridge=vmbr0,ip=dhcp"
    assert world.remote.count("configure_guest") == 0


def test_the_portal_decides_address_keys_and_user():
    world = World(
        ip_mode="static",
        ci_user="deb",
        ip_pool={"network": "10.9.0.0/24", "first": "10.9.0.7", "last": "10.9.0.9", "gateway": "10.9.0.1"},
    )
    world.order()
    Machine.objects.update(ssh_keys="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB ann")
    world.run()
    values = next(call for call in world.remote.calls if call[0] == "configure_guest")[4]
    assert (values["ciuser"], values["ipconfig0"]) == ("deb", "ip=10.9.0.7/24,gw=10.9.0.1")
    assert values["sshkeys"].startswith("ssh-ed25519 ")


# failures


def test_a_failed_clone_releases_what_it_held(world):
    world.remote.ends["qmclone"] = ["no space left on device"]
    world.order()
    world.run()
    machine = world.machine()
    assert (machine.stage, machine.exists, machine.ended_at is not None) == (Stage.FAILED, False, True)
    assert "no space left" in machine.error
    assert machine.cause
    assert machine.leftovers == "Nothing was left behind."
    assert Submission.objects.count() == 1


def test_a_half_clone_is_named_with_the_cure(world):
    world.remote.ends["qmclone"] = ["unexpected status"]
    world.order()
    world.pump()
    for upid in world.remote.running():
        world.remote.finish(upid)
    world.observe()
    Task.objects.update(state=State.FAILED, exit_text="unexpected status", ended_at=now())
    pipeline.pump(client=world.remote)
    machine = world.machine()
    assert machine.stage == Stage.FAILED
    assert f"`qm unlock {machine.vmid} && qm destroy {machine.vmid}" in machine.leftovers


@pytest.mark.parametrize("step", ["configure", "resize", "start"])
def test_a_machine_that_failed_later_exists_and_goes_on_from_there(world, step):
    refusal = SourceRefused("the hook said no", kind="remote_error", status=500)
    method = {"configure": "configure_guest", "resize": "resize_disk", "start": "start_guest"}[step]
    world.remote.fails[method] = [refusal]
    order = world.order()
    world.run()
    machine = world.machine()
    assert (machine.stage, machine.exists, machine.ended_at) == (Stage.FAILED, True, None)
    assert machine.error == "the hook said no"
    assert orders.retry_failed(order, actor=world.member, idempotency_key="r") == 1
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 1
    assert len(world.remote.vmids) == 1


def test_a_lock_of_the_source_is_waited_for(world):
    world.remote.ends["qmclone"] = ["can't lock file '/var/lock/qemu-server/lock-9000.conf' - got timeout"]
    world.order()
    world.pump()
    world.finish()
    assert world.stages() == ["clone"]
    Submission.objects.update(next_attempt_at=now())
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 2


def test_a_taken_vmid_gives_way_to_the_next(world):
    taken = SourceRefused(
        "unable to create VM 100: config file already exists", kind="remote_error", status=500
    )
    world.remote.fails["clone_guest"] = [taken]
    world.order()
    assert world.machine().vmid == 100
    world.run()
    machine = world.machine()
    assert machine.stage == Stage.READY
    assert machine.vmid != 100
    assert world.remote.vmids == [machine.vmid]


def test_a_lost_target_lock_takes_another_vmid(world):
    world.remote.ends["qmclone"] = ["can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"]
    world.order()
    world.pump()
    world.finish()
    Submission.objects.update(next_attempt_at=now())
    world.run()
    assert world.stages() == ["ready"]
    assert world.machine().vmid != 100


def test_an_unknown_outcome_keeps_everything_reserved_and_is_adopted_when_it_shows(world):
    order = world.order()
    world.pump()
    Submission.objects.update(state=State.LOST, ended_at=now(), error="It is not known.")
    world.pump()
    machine = world.machine()
    assert (machine.stage, machine.ended_at) == (Stage.FAILED, None)
    make_guest(world.source, vmid=machine.vmid, name=machine.name, status="stopped")
    world.remote.configs[machine.vmid].pop("lock")
    assert orders.retry_failed(order, actor=world.member, idempotency_key="r") == 1
    for upid in world.remote.running():
        world.remote.finish(upid)
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 1


def test_failures_of_one_cause_are_counted_together(world):
    world.remote.ends["qmclone"] = ["no space left on device"] * 2 + ["odd thing 17"]
    order = world.order(3)
    world.run()
    shown = orders.progress(order)
    assert (shown.failed, shown.is_final) == (3, True)
    assert [count for _, count in shown.groups] == [2, 1]


# policy on failures


@pytest.mark.parametrize(("policy", "ready"), [("go_on", 3), ("stop_first", 0), ("stop_after", 1)])
def test_an_order_goes_on_or_stops_after_failures(policy, ready):
    world = World(team={"max_parallel_clones": 1})
    world.remote.ends["qmclone"] = ["broken"]
    if policy == "stop_after":
        world.remote.ends["qmclone"] = ["broken", "OK", "broken"]
    order = world.order(4, on_failure=policy, stop_after=2)
    world.run()
    assert orders.progress(order).done == ready
    order.refresh_from_db()
    assert (order.paused_at is not None) == (policy != "go_on")
    assert bool(order.stopped_reason) == (policy != "go_on")


# worker deaths: only half of a move was carried out


def test_a_worker_that_died_before_the_call_is_continued(world):
    world.order()
    pipeline.start_due(world.source.pk)  # the rows stand, nothing was called
    assert (world.stages(), world.remote.calls) == (["clone"], [])
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 1


def test_a_worker_that_died_after_the_call_finds_its_clone(world):
    world.order()
    pipeline.start_due(world.source.pk)
    submission = Submission.objects.get()
    Submission.objects.update(called_at=now(), attempts=1)
    world.remote.clone_guest("qemu", "pve1", 9000, new_vmid=submission.new_vmid, name="web-debian-01")
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 1
    assert len(world.remote.vmids) == 1


def test_a_lost_answer_is_looked_for_and_not_asked_again(world):
    world.remote.lost_answers = 1
    world.order()
    world.pump()
    Submission.objects.update(next_attempt_at=now())
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("clone_guest") == 1
    assert world.remote.vmids == [world.machine().vmid]


@pytest.mark.parametrize("rounds", range(1, 7))
def test_a_claim_that_a_dead_worker_left_runs_out(world, rounds):
    world.order()
    for _ in range(rounds):
        world.finish()
    Machine.objects.filter(stage__in=["clone", "resize", "start"]).update(
        lease_until=now() + timedelta(seconds=9)
    )
    before = world.stages()
    for upid in world.remote.running():
        world.remote.finish(upid)
    world.pump()
    if before != ["address"]:
        assert world.stages() == before
    Machine.objects.update(lease_until=now() - timedelta(seconds=1))
    world.run()
    assert world.stages() == ["ready"]
    assert [s.step for s in Submission.objects.order_by("pk")] == ["clone", "configure", "resize", "start"]


def test_a_source_that_cannot_be_read_delays_and_fails_nothing(world):
    world.remote.fails["fetch_guest_config"] = [SourceUnavailable("down", kind="refused")] * 2
    world.order()
    world.pump()
    world.finish()
    assert world.stages() == ["configure"]
    for _ in range(3):
        Machine.objects.update(next_look_at=now())
        world.pump()
    world.run()
    assert world.stages() == ["ready"]
    assert world.remote.count("configure_guest") == 1


def test_nothing_is_sent_to_a_paused_source(world):
    world.order()
    world.source.paused_at = now()
    world.source.save(update_fields=["paused_at"])
    world.pump()
    assert (world.stages(), world.remote.calls) == (["queued"], [])


def test_the_orderer_is_told_once_when_all_is_done(world):
    world.order(2)
    world.run()
    world.pump()
    texts = list(Notice.objects.filter(user=world.member).values_list("text", flat=True))
    assert texts == ["web-debian-batch-1: 2 ready."]


@pytest.mark.parametrize("stops", [False, True])
def test_an_overdue_clone_is_stopped_only_where_the_item_says_so(stops):
    world = World(cancels_overdue=stops)
    world.order()
    world.pump()
    Submission.objects.update(overdue_since=now())
    world.pump()
    assert Task.objects.cancels_waiting().exists() == stops


def test_an_order_that_needs_nothing_has_no_decision(world):
    assert world.order().decision == Order.Decision.NOT_NEEDED
