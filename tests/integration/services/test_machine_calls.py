"""Every call of a machine's life over TLS, with the demo's least-privilege token, also when it is cut off."""

import itertools
import time

import pytest
from django.utils.timezone import now

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import Submission, Task
from tasks_app.services import sources
from tasks_app.services.guest_actions import parse_parameters, send
from tasks_app.services.guest_parameters import ConfigureParameters, NewGuest
from tasks_app.services.guest_settings import differences
from tasks_app.services.submissions import deliver_submission, settle_submissions
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.proxmox import AddressGap
from tasks_app.states import State
from tests.factories import make_user

pytestmark = pytest.mark.django_db
Action = Submission.Action
WAIT_SECONDS = 20
KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF6cV1l6m3r3x8GkQm+7e1w2o7wq9W3bJ/0pZk8S5aQx alice@example.org\r\n"
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDZ5o1u6r1h8l0w3Xy+ZqQmN4b7t8C9aE2f5G6h7I8jK bob+laptop@example.org"
)
SETTINGS = {
    "name": "web-07",
    "cores": 2,
    "memory_mb": 2048,
    "ci_user": "alice",
    "ssh_keys": KEYS,
    "ip": "10.20.30.7/24",
    "gateway": "10.20.30.1",
    "description": "for alice\nzweite Zeile äöü",
}
_keys = itertools.count()


@pytest.fixture(scope="module")
def cluster():
    with DemoCluster(time_scale=0.02) as running:
        yield running


@pytest.fixture
def source(cluster):
    return sources.add_source(
        actor=None,
        name="demo",
        urls=cluster.urls,
        fingerprints=[cluster.fingerprint],
        token_id=cluster.token_id,
        token_secret=cluster.token_secret,
    )


@pytest.fixture
def client(source):
    return connections.client_of(source)


def write(source, action, vmid, *, node="pve1", kind="qemu", is_template=False, new_vmid=None, **given):
    return Submission.objects.create(
        source=source,
        action=action,
        guest_kind=kind,
        node=node,
        vmid=vmid,
        new_vmid=new_vmid,
        parameters=parse_parameters(action, NewGuest(kind, is_template), given),
        actor=make_user(),
        idempotency_key=f"key-{next(_keys)}",
    )


def finish(client, submission):
    """Deliver, read the task until it has ended, as the poller does, and settle."""
    deliver_submission(submission.pk)
    submission.refresh_from_db()
    if submission.is_final:
        return submission
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        task = Task.objects.get(submission=submission)
        ingest_observations(submission.source, [client.fetch_task(task.node, task.remote_id)], at=now())
        settle_submissions()
        submission.refresh_from_db()
        if submission.is_final:
            return submission
        time.sleep(0.05)
    raise AssertionError(f"{submission} did not end: {submission.error}")


def do(source, client, action, vmid, **options):
    submission = finish(client, write(source, action, vmid, **options))
    assert (submission.state, submission.error) == (State.COMPLETED, "")
    return submission


def make_clone(source, client, *, template=9001, **given):
    """Its VMID."""
    given = {"name": "web-07", "full": False, "pool": "portal"} | given
    return do(source, client, Action.CLONE, template, is_template=True, **given).new_vmid


def wait_for_addresses(client, kind, node, vmid):
    gaps, deadline = set(), time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = client.fetch_addresses(kind, node, vmid)
        if found.addresses:
            return found.addresses, gaps
        gaps.add(found.gap)
        time.sleep(0.05)
    raise AssertionError(f"no address, only {gaps}")


def test_a_machine_is_made_configured_grown_started_and_removed(source, client):
    vmid = make_clone(source, client)
    assert client.fetch_guest_config("qemu", "pve1", vmid)["protection"] == 1
    done = do(source, client, Action.CONFIGURE, vmid, **SETTINGS)
    assert done.answered_at == done.ended_at
    config = client.fetch_guest_config("qemu", "pve1", vmid)
    assert differences("qemu", ConfigureParameters(**SETTINGS), config) == []
    assert not {"protection", "tags"} & set(config)
    do(source, client, Action.RESIZE, vmid, disk="scsi0", size_gb=20)
    do(source, client, Action.RESIZE, vmid, disk="scsi0", size_gb=20)
    assert client.fetch_guest_config("qemu", "pve1", vmid)["scsi0"].endswith("size=20G")
    assert client.fetch_addresses("qemu", "pve1", vmid).gap is AddressGap.NOT_RUNNING
    do(source, client, Action.START, vmid)
    addresses, gaps = wait_for_addresses(client, "qemu", "pve1", vmid)
    assert addresses == ("10.20.30.7",)
    assert gaps <= {AddressGap.SILENT}
    status = client.fetch_guest_status("qemu", "pve1", vmid)
    assert (status.status, status.cores, status.memory) == ("running", 2, 2048 << 20)
    do(source, client, Action.SNAPSHOT, vmid, name="before")
    assert [snapshot.name for snapshot in client.fetch_snapshots("qemu", "pve1", vmid)] == ["before"]
    do(source, client, Action.ROLLBACK, vmid, name="before", start=True)
    assert client.fetch_guest_status("qemu", "pve1", vmid).status == "running"
    do(source, client, Action.BACKUP, vmid, storage="nas")
    assert [volume.vmid for volume in client.fetch_storage_content("pve1", "nas", "backup")] == [vmid]
    do(source, client, Action.STOP, vmid)
    do(source, client, Action.DELETE, vmid)
    assert vmid not in {row.vmid for row in client.fetch_resources("vm")}


def test_deleting_what_is_gone_is_done_without_a_task(source, client):
    vmid = make_clone(source, client, template=9000)
    do(source, client, Action.DELETE, vmid)
    assert do(source, client, Action.DELETE, vmid).remote_id == ""


def test_a_container_is_made_from_a_template_of_the_storage(source, client):
    (template,) = [
        volume.volid
        for volume in client.fetch_storage_content("pve2", "nas", "vztmpl")
        if "debian" in volume.volid
    ]
    made = do(
        source,
        client,
        Action.CREATE,
        0,
        node="pve2",
        kind="lxc",
        ostemplate=template,
        storage="ceph-vm",
        disk_gb=4,
        name="ct-1",
        cores=1,
        memory_mb=512,
        bridge="vmbr0",
        ip="10.20.30.8/24",
        gateway="10.20.30.1",
        ssh_keys=KEYS,
        pool="portal",
        tags="alice;web",
    )
    vmid = made.new_vmid
    config = client.fetch_guest_config("lxc", "pve2", vmid)
    assert (config["hostname"], config["unprivileged"], config["tags"]) == ("ct-1", 1, "alice;web")
    assert client.fetch_addresses("lxc", "pve2", vmid).gap is AddressGap.NOT_RUNNING
    do(source, client, Action.START, vmid, node="pve2", kind="lxc")
    assert wait_for_addresses(client, "lxc", "pve2", vmid)[0] == ("10.20.30.8",)
    do(source, client, Action.RESIZE, vmid, node="pve2", kind="lxc", disk="rootfs", size_gb=6)
    do(source, client, Action.STOP, vmid, node="pve2", kind="lxc")
    do(source, client, Action.DELETE, vmid, node="pve2", kind="lxc")


def test_a_clone_lands_on_another_node_that_reaches_the_storage(source, client):
    nodes = [node for node, reached in client.fetch_storages_by_node().items() if "ceph-vm" in reached]
    free = client.fetch_free_memory()
    target = max((node for node in nodes if node != "pve1"), key=lambda node: free[node])
    vmid = make_clone(source, client, full=True, storage="ceph-vm", target=target)
    assert {row.vmid: row.node for row in client.fetch_resources("vm")}[vmid] == target


def test_a_vmid_that_somebody_took_since_is_skipped(source, client):
    taken = make_clone(source, client, template=9000)
    submission = write(source, Action.CLONE, 9000, is_template=True, name="web", full=False, pool="portal")
    Submission.objects.filter(pk=submission.pk).update(new_vmid=taken)  # as reserved a moment before
    Submission.objects.exclude(pk=submission.pk).update(new_vmid=None)
    finish(client, submission)
    assert submission.state == State.COMPLETED
    assert submission.new_vmid not in (None, taken)


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize(
    ("action", "given"),
    [
        (Action.CONFIGURE, {"name": "web-08", "cores": 2, "memory_mb": 1024}),
        (Action.RESIZE, {"disk": "scsi0", "size_gb": 12}),
    ],
)
def test_a_goal_that_was_cut_off_is_reached_at_once(source, client, action, given, was_sent):
    vmid = make_clone(source, client)
    submission = write(source, action, vmid, **given)
    Submission.objects.filter(pk=submission.pk).update(called_at=now())
    if was_sent:
        send(client, submission)  # and here the plug was pulled
    finish(client, submission)
    assert (submission.state, submission.error) == (State.COMPLETED, "")
    config = client.fetch_guest_config("qemu", "pve1", vmid)
    assert config["cores"] == 2 if action == Action.CONFIGURE else config["scsi0"].endswith("size=12G")


@pytest.mark.parametrize(
    "action", [Action.CLONE, Action.CREATE, Action.DELETE, Action.BACKUP, Action.ROLLBACK]
)
def test_a_call_that_was_cut_off_is_found_and_not_made_again(source, client, action):
    vmid, kind, given, options = make_clone(source, client, template=9000), "qemu", {}, {}
    if action == Action.CLONE:
        given, options = {"name": "web", "full": False, "pool": "portal"}, {"is_template": True}
        vmid, options["new_vmid"] = 9000, 7001
    elif action == Action.CREATE:
        given = {"ostemplate": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst", "storage": "local-lvm"}
        given |= {"disk_gb": 4, "name": "ct-2", "cores": 1, "memory_mb": 256, "pool": "portal"}
        vmid, kind, options = 7002, "lxc", {"new_vmid": 7002}
    elif action == Action.BACKUP:
        given = {"storage": "nas"}
    elif action == Action.ROLLBACK:
        do(source, client, Action.SNAPSHOT, vmid, name="before")
        given = {"name": "before"}
    submission = write(source, action, vmid, kind=kind, **options, **given)
    Submission.objects.filter(pk=submission.pk).update(called_at=now())
    upid = send(client, submission)  # and here the plug was pulled
    finish(client, submission)
    assert (submission.state, submission.remote_id) == (State.COMPLETED, upid)


def test_what_the_token_lacks_is_named(source, client):
    with pytest.raises(SourceRefused) as caught:
        client.resize_disk("qemu", "pve1", 100, disk="scsi0", size_gb=100)
    assert (caught.value.privilege, caught.value.path) == ("VM.Config.Disk", "/vms/100")
