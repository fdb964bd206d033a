"""The deeds that make, change and remove machines: what is sent, how each ends, and what a kill leaves behind."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.utils.timezone import now

from tasks_app.errors import InvalidInput
from tasks_app.models import Machine, Submission, Task
from tasks_app.services import delivery
from tasks_app.services.guest_actions import (
    PRIVILEGES,
    expected_types,
    main_type,
    missing_privilege,
    parse_parameters,
    unfitness,
)
from tasks_app.services.guest_parameters import ConfigureParameters, NewGuest
from tasks_app.services.guest_settings import differences
from tasks_app.services.submissions import deliver_submission, settle_submissions
from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Resource
from tasks_app.states import State
from tests.factories import make_guest, make_item, make_machine, make_source, make_user

pytestmark = pytest.mark.django_db

Action = Submission.Action
VM, CONTAINER = NewGuest("qemu"), NewGuest("lxc")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF6cV1l6m3r3x8GkQm alice@example.org"
CREATE = {
    "ostemplate": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
    "storage": "local-lvm",
    "disk_gb": 8,
    "name": "ct-1",
    "cores": 2,
    "memory_mb": 512,
}
GIVEN = {
    Action.CONFIGURE: {"name": "web-1", "cores": 2, "memory_mb": 2048},
    Action.RESIZE: {"disk": "scsi0", "size_gb": 32},
    Action.ROLLBACK: {"name": "before"},
    Action.BACKUP: {"storage": "nas"},
    Action.DELETE: {},
    Action.CREATE: CREATE,
    Action.CLONE: {"name": "web-1"},
}
GONE = SourceRefused(
    "Permission check failed (/vms/301, VM.Allocate)", kind="forbidden", status=403, privilege="VM.Allocate"
)


def write(action, given=None, *, machine=None, kind="qemu", **fields):
    """A submission as orders and machines make it."""
    parameters = parse_parameters(action, NewGuest(kind), GIVEN[action] if given is None else given)
    defaults = {
        "source": machine.source if machine else make_source(),
        "action": action,
        "guest_kind": kind,
        "node": "pve1",
        "vmid": 301,
        "parameters": parameters,
        "actor": make_user(),
        "idempotency_key": "machine-1-step-1",
        "machine": machine,
    }
    return Submission.objects.create(**(defaults | fields))


def write_called(action, *, seconds_ago=20, **fields):
    """One whose worker was killed between the call and its answer."""
    called_at = (now() - timedelta(seconds=seconds_ago)).replace(microsecond=0)
    return write(action, called_at=called_at, attempts=1, **fields)


def deliver(submission, remote):
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    return submission


@pytest.mark.parametrize(
    ("action", "kind", "type"),
    [
        (Action.RESIZE, "qemu", "resize"),
        (Action.RESIZE, "lxc", "resize"),
        (Action.ROLLBACK, "qemu", "qmrollback"),
        (Action.ROLLBACK, "lxc", "vzrollback"),
        (Action.BACKUP, "qemu", "vzdump"),
        (Action.DELETE, "qemu", "qmdestroy"),
        (Action.DELETE, "lxc", "vzdestroy"),
        (Action.CREATE, "lxc", "vzcreate"),
    ],
)
def test_every_deed_becomes_the_task_it_expects(remote, action, kind, type):
    given = {"disk": "rootfs", "size_gb": 9} if (action, kind) == (Action.RESIZE, "lxc") else None
    submission = deliver(write(action, given, kind=kind), remote)
    assert submission.state == State.PROCESSING
    assert main_type(submission) == type
    assert expected_types(submission) == {type}
    if kind == "qemu" or action in (Action.DELETE, Action.CREATE, Action.ROLLBACK):
        assert Task.objects.get().type == type


def test_every_action_names_its_privilege():
    assert set(PRIVILEGES) == set(Action.values)


# configure


def test_a_configuration_is_complete_with_the_answer(remote):
    submission = deliver(write(Action.CONFIGURE), remote)
    assert submission.state == State.COMPLETED
    assert submission.answered_at == submission.ended_at
    assert submission.answered_at is not None
    assert (submission.remote_id, submission.lease_until) == ("", None)
    assert not Task.objects.exists()


def test_a_configuration_takes_what_the_template_handed_down_away(remote):
    remote.configs[301] = {"protection": 1, "tags": "linux;template", "description": "golden image"}
    given = {
        "name": "web-1",
        "cores": 4,
        "memory_mb": 2048,
        "ci_user": "alice",
        "ssh_keys": KEY,
        "ip": "dhcp",
    }
    deliver(write(Action.CONFIGURE, given), remote)
    (call,) = [call for call in remote.calls if call[0] == "configure_guest"]
    assert call[4] == {
        "name": "web-1",
        "cores": 4,
        "sockets": 1,
        "memory": 2048,
        "ciuser": "alice",
        "sshkeys": KEY,
        "ipconfig0": "ip=dhcp",
    }
    assert call[5] == ("protection", "tags", "description")


def test_a_container_gets_its_host_name_and_a_whole_network_card(remote):
    given = {"name": "ct-1", "bridge": "vmbr0", "ip": "10.20.30.5/24", "gateway": "10.20.30.1", "tags": "a;b"}
    deliver(write(Action.CONFIGURE, given, kind="lxc"), remote)
    (call,) = [call for call in remote.calls if call[0] == "configure_guest"]
    assert call[4] == {
        "hostname": "ct-1",
        "tags": "a;b",
        "net0": "name=eth0,bridge=vmbr0,ip=10.20.30.5/24,gw=10.20.30.1",
    }


def test_a_refused_configuration_fails_with_the_words_of_the_source(remote):
    remote.fails["configure_guest"] = [SourceRefused("SSH public key validation error", kind="remote_error")]
    submission = deliver(write(Action.CONFIGURE), remote)
    assert (submission.state, submission.error) == (State.FAILED, "SSH public key validation error")


def test_after_a_kill_settings_that_are_there_are_not_sent_again(remote):
    remote.configs[301] = {"name": "web-1", "cores": 2, "sockets": 1, "memory": "2048", "digest": "x"}
    submission = deliver(write_called(Action.CONFIGURE), remote)
    assert submission.state == State.COMPLETED
    assert remote.count("configure_guest") == 0


def test_after_a_kill_settings_that_are_missing_are_sent_at_once(remote):
    remote.configs[301] = {"name": "template", "protection": 1}
    submission = deliver(write_called(Action.CONFIGURE, seconds_ago=1), remote)
    assert submission.state == State.COMPLETED
    assert remote.count("configure_guest") == 1
    assert "protection" not in remote.configs[301]


def test_a_lost_answer_is_looked_into_and_not_taken_for_a_failure(remote):
    remote.fails["configure_guest"] = [OutcomeUnknown("lost", kind="timeout")]
    submission = deliver(write(Action.CONFIGURE), remote)
    assert (submission.state, submission.answered_at) == (State.PENDING, None)
    assert submission.called_at is not None


def test_a_lock_that_is_held_for_a_moment_is_waited_for(remote):
    text = "can't lock file '/var/lock/qemu-server/lock-301.conf' - got timeout"
    remote.fails["configure_guest"] = [SourceRefused(text, kind="locked")]
    submission = deliver(write(Action.CONFIGURE), remote)
    assert (submission.state, submission.called_at) == (State.PENDING, None)
    Submission.objects.update(next_attempt_at=now())
    assert deliver(submission, remote).state == State.COMPLETED


@pytest.mark.parametrize("file", ["qemu-server/lock-301.conf", "lxc/pve-config-301.lock"])
def test_the_lock_file_of_either_kind_names_its_guest(file):
    assert delivery.locked_guest(f"can't lock file '/run/lock/{file}' - got timeout") == 301


@pytest.mark.parametrize(
    ("has", "differs"),
    [
        ({"cores": "2", "memory": "1024"}, []),
        ({"cores": 2, "memory": 1024, "sockets": 2}, ["sockets"]),
        ({"cores": 1, "memory": "1024"}, ["cores"]),
        ({"cores": 2, "memory": 1024, "tags": "linux;template", "protection": 1}, ["protection", "tags"]),
        ({"cores": 2, "memory": 1024, "protection": 0}, []),
    ],
)
def test_differences_name_the_options_that_are_otherwise(has, differs):
    assert differences("qemu", ConfigureParameters(cores=2, memory_mb=1024), has) == differs


def test_keys_are_compared_as_proxmox_keeps_them():
    wanted = ConfigureParameters(ssh_keys=KEY + "\r\n")
    assert differences("qemu", wanted, {"sshkeys": quote(KEY + "\n", safe="")}) == []
    assert differences("qemu", wanted, {"sshkeys": quote(KEY + "x", safe="")}) == ["sshkeys"]


def test_a_network_card_is_the_same_with_the_mac_it_was_given():
    wanted = ConfigureParameters(bridge="vmbr0", ip="dhcp")
    has = {"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth"}
    assert differences("lxc", wanted, has) == []


# resize, delete, backup, create


def test_a_resize_is_asked_for_again_without_waiting(remote):
    submission = deliver(write_called(Action.RESIZE, seconds_ago=1), remote)
    assert remote.count("resize_disk") == 1
    assert submission.state == State.PROCESSING


def test_of_two_resizes_the_last_is_followed(remote):
    submission = write_called(Action.RESIZE)
    for seconds in (1, 5):
        last = remote.add_task(
            type="resize", object_id="301", started_at=submission.called_at + timedelta(seconds=seconds)
        )
    assert deliver(submission, remote).remote_id == last
    assert remote.count("resize_disk") == 0


def test_a_destroy_that_was_started_is_followed(remote):
    submission = write_called(Action.DELETE)
    upid = remote.add_task(type="qmdestroy", object_id="301", started_at=submission.called_at)
    assert deliver(submission, remote).remote_id == upid


def test_a_guest_that_has_gone_was_deleted(remote):
    submission = deliver(write_called(Action.DELETE), remote)
    assert submission.state == State.COMPLETED
    assert remote.count("delete_guest") == 0


def test_a_guest_that_is_there_is_not_deleted_again_too_early(remote):
    remote.guests = [Resource("qemu/301", "qemu", node="pve1", vmid=301)]
    assert deliver(write_called(Action.DELETE), remote).state == State.PENDING
    assert remote.count("delete_guest") == 0


def test_a_guest_that_is_still_there_much_later_is_deleted(remote):
    remote.guests = [Resource("qemu/301", "qemu", node="pve1", vmid=301)]
    submission = deliver(write_called(Action.DELETE, seconds_ago=300), remote)
    assert remote.count("delete_guest") == 1
    assert submission.state == State.PROCESSING


def test_a_forbidden_delete_of_what_is_gone_is_done(remote):
    remote.fails["delete_guest"] = [GONE]
    assert deliver(write(Action.DELETE), remote).state == State.COMPLETED


def test_a_forbidden_delete_of_what_is_there_fails(remote):
    remote.fails["delete_guest"] = [GONE]
    remote.guests = [Resource("qemu/301", "qemu", node="pve1", vmid=301)]
    submission = deliver(write(Action.DELETE), remote)
    assert submission.state == State.FAILED
    assert "VM.Allocate" in submission.error


def test_a_guest_that_the_token_may_not_see_is_not_gone(remote):
    remote.fails["delete_guest"] = [GONE]
    remote.hidden = {301}
    assert deliver(write(Action.DELETE), remote).state == State.FAILED


def test_a_delete_is_not_done_when_nobody_can_say_so(remote):
    remote.fails["delete_guest"] = [GONE]
    remote.fails["fetch_resources"] = [SourceUnavailable("silent", kind="timeout")]
    assert deliver(write(Action.DELETE), remote).state == State.FAILED


def test_a_backup_of_nothing_fails_in_words(remote):
    text = "Node pve1 found no guest 301 to back up."
    remote.fails["backup_guest"] = [SourceRefused(text, kind="remote_error")]
    submission = deliver(write(Action.BACKUP), remote)
    assert (submission.state, submission.error) == (State.FAILED, text)


def test_a_new_container_is_made_with_what_was_checked(remote):
    submission = write(
        Action.CREATE, CREATE | {"bridge": "vmbr0", "ip": "dhcp", "pool": "portal"}, kind="lxc", vmid=0
    )
    deliver(submission, remote)
    (call,) = [call for call in remote.calls if call[0] == "create_container"]
    assert call[3] == 300
    assert (submission.vmid, submission.new_vmid) == (300, 300)
    assert call[4]["network"] == "name=eth0,bridge=vmbr0,ip=dhcp"
    assert (call[4]["hostname"], call[4]["storage"], call[4]["disk_gb"]) == ("ct-1", "local-lvm", 8)


def test_after_a_kill_the_container_that_was_begun_is_followed(remote):
    submission = write_called(Action.CREATE, kind="lxc", vmid=310, new_vmid=310)
    upid = remote.add_task(type="vzcreate", object_id="310", started_at=submission.called_at)
    assert deliver(submission, remote).remote_id == upid
    assert remote.count("create_container") == 0


def test_a_container_that_nobody_of_us_made_is_for_a_person(remote):
    remote.guests = [Resource("lxc/310", "lxc", node="pve1", vmid=310)]
    submission = write_called(Action.CREATE, seconds_ago=300, kind="lxc", vmid=310, new_vmid=310)
    assert deliver(submission, remote).state == State.LOST
    assert remote.count("create_container") == 0


def test_a_container_id_that_somebody_took_leads_to_the_next(remote):
    taken = SourceRefused("CT 300 already exists on node 'pve1'", kind="remote_error", status=500)
    remote.fails["create_container"] = [taken]
    submission = deliver(write(Action.CREATE, kind="lxc", vmid=0), remote)
    assert (submission.vmid, submission.new_vmid, submission.state) == (301, 301, State.PROCESSING)


# VMIDs of machines


def make_waiting(**fields):
    """A machine in its clone step whose item has VMIDs 5000 to 5002."""
    item = make_item(vmid_from=5000, vmid_to=5002)
    return make_machine(item=item, stage="clone", ended_at=None, **fields)


def test_the_vmid_promised_to_a_machine_is_taken(remote):
    machine = make_waiting(vmid=5001)
    assert deliver(write(Action.CLONE, machine=machine), remote).new_vmid == 5001
    assert remote.count("fetch_next_vmid") == 0


def test_the_range_of_the_item_is_kept(remote):
    machine = make_waiting()
    submission = deliver(write(Action.CLONE, machine=machine), remote)
    machine.refresh_from_db()
    assert (submission.new_vmid, machine.vmid) == (5000, 5000)


def test_vmids_of_other_machines_and_of_hidden_guests_are_skipped(remote):
    machine = make_waiting()
    make_machine(source=machine.source, stage="queued", vmid=5000, ended_at=None)
    remote.hidden = {5001}
    assert deliver(write(Action.CLONE, machine=machine), remote).new_vmid == 5002


def test_a_full_range_is_said_in_words(remote):
    machine = make_waiting()
    remote.hidden = {5000, 5001, 5002}
    submission = deliver(write(Action.CLONE, machine=machine), remote)
    assert (submission.state, submission.new_vmid) == (State.PENDING, None)
    assert submission.error == "All VMIDs from 5000 to 5002 are taken."
    assert remote.count("clone_guest") == 0


def test_a_taken_vmid_moves_the_machine_to_the_next(remote):
    machine = make_waiting(vmid=5000)
    text = "unable to create VM 5000: config file already exists"
    remote.fails["clone_guest"] = [SourceRefused(text, kind="remote_error", status=500)]
    submission = deliver(write(Action.CLONE, machine=machine, new_vmid=5000), remote)
    machine.refresh_from_db()
    assert (submission.new_vmid, machine.vmid) == (5001, 5001)


def test_a_vmid_found_taken_in_the_task_is_given_back_by_the_machine(remote):
    machine = make_waiting(vmid=5000)
    submission = deliver(write(Action.CLONE, machine=machine, new_vmid=5000), remote)
    text = "close (rename) atomic file '/etc/pve/nodes/pve1/qemu-server/5000.conf' failed: File exists"
    Task.objects.update(state=State.FAILED, exit_text=text, ended_at=now())
    settle_submissions()
    assert Machine.objects.get(pk=machine.pk).vmid is None
    remote.hidden = {5000}
    Submission.objects.update(next_attempt_at=now())
    assert deliver(submission, remote).new_vmid == 5001
    assert Machine.objects.get(pk=machine.pk).vmid == 5001


def test_who_has_lost_the_row_reserves_nothing(remote):
    machine = make_waiting()
    submission = write(Action.CLONE, machine=machine)
    held = delivery.claim(submission.pk)
    Submission.objects.filter(pk=submission.pk).update(attempts=5)  # claimed by another since
    delivery.bring(held, remote)
    submission.refresh_from_db()
    machine.refresh_from_db()
    assert (submission.new_vmid, machine.vmid) == (None, None)
    assert remote.count("clone_guest") == 0


# what may be given


@pytest.mark.parametrize(
    ("action", "target", "given", "field"),
    [
        (Action.CONFIGURE, VM, {"cicustom": "user=local:snippets/x"}, "cicustom"),
        (Action.CONFIGURE, VM, {"cpu": "host"}, "cpu"),
        (Action.CONFIGURE, VM, {"args": "-s"}, "args"),
        (Action.CONFIGURE, VM, {"cores": True}, "cores"),
        (Action.CONFIGURE, VM, {"cores": "2"}, "cores"),
        (Action.CONFIGURE, VM, {"cores": 5000}, "cores"),
        (Action.CONFIGURE, VM, {"memory_mb": -1}, "memory_mb"),
        (Action.CONFIGURE, VM, {"name": "a_b"}, "name"),
        (Action.CONFIGURE, VM, {"name": "x" * 64}, "name"),
        (Action.CONFIGURE, VM, {"ci_user": "root; reboot"}, "ci_user"),
        (Action.CONFIGURE, VM, {"ssh_keys": "not a key"}, "ssh_keys"),
        (Action.CONFIGURE, VM, {"ssh_keys": f"{KEY}\nhostkey"}, "ssh_keys"),
        (Action.CONFIGURE, CONTAINER, {"ssh_keys": KEY}, "ssh_keys"),
        (Action.CONFIGURE, VM, {"ip": "10.0.0.5"}, "ip"),
        (Action.CONFIGURE, VM, {"ip": "10.0.0.5/24,ip6=auto"}, "ip"),
        (Action.CONFIGURE, VM, {"ip": "dhcp", "gateway": "10.0.0.1"}, "gateway"),
        (Action.CONFIGURE, VM, {"bridge": "vmbr1"}, "bridge"),
        (Action.CONFIGURE, CONTAINER, {"ip": "dhcp"}, "bridge"),
        (Action.CONFIGURE, CONTAINER, {"ip": "dhcp", "bridge": "vmbr0,tag=7"}, "bridge"),
        (Action.CONFIGURE, VM, {"tags": "a b"}, "tags"),
        (Action.RESIZE, VM, {"disk": "ide2,media=cdrom", "size_gb": 5}, "disk"),
        (Action.RESIZE, VM, {"disk": "scsi0", "size_gb": 0}, "size_gb"),
        (Action.ROLLBACK, VM, {"name": "../x"}, "name"),
        (Action.BACKUP, VM, {"storage": "nas", "mode": "now"}, "mode"),
        (Action.BACKUP, VM, {"storage": "a b"}, "storage"),
        (Action.DELETE, NewGuest("qemu", is_template=True), {}, "action"),
        (Action.CREATE, VM, CREATE, "action"),
        (Action.CREATE, CONTAINER, CREATE | {"ostemplate": "local:iso/x.iso"}, "ostemplate"),
        (Action.CREATE, CONTAINER, CREATE | {"unprivileged": False}, "unprivileged"),
        (Action.CREATE, CONTAINER, CREATE | {"disk_gb": 0}, "disk_gb"),
        (Action.CLONE, VM, {"name": "web", "target": "pve2;reboot"}, "target"),
        (Action.CLONE, VM, {"name": "web", "format": "vdi"}, "format"),
    ],
)
def test_what_the_source_would_take_and_we_do_not(action, target, given, field):
    with pytest.raises(InvalidInput) as caught:
        parse_parameters(action, target, given)
    assert field in caught.value.fields


def test_a_running_guest_is_not_deleted():
    assert unfitness(Action.DELETE, make_guest(status="running")) == "It is running: stop it first."


def test_a_missing_privilege_is_named_on_the_pool():
    source = make_source(
        permissions={"/": {"VM.Audit": 1}, "/pool/portal": {"VM.Allocate": 1, "VM.Snapshot": 1}}
    )
    assert missing_privilege(Action.DELETE, source, vmid=301, pool="portal") == ""
    assert missing_privilege(Action.ROLLBACK, source, vmid=301, pool="portal") == ""
    assert (
        missing_privilege(Action.BACKUP, source, vmid=301, pool="portal")
        == "The token portal@pve!web lacks VM.Backup on /pool/portal."
    )
