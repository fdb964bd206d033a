"""Services against a demo cluster over TLS: what is asked for really happens there."""

import time
import uuid

import pytest
from django.utils.timezone import now

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import AuditEntry, Guest, Role, Source, Submission, Task
from tasks_app.services import sources
from tasks_app.services.cancellation import TOO_LATE, cancel_task, deliver_cancel
from tasks_app.services.submissions import deliver_submission, settle_submissions, submit_guest_action
from tasks_app.states import State
from tests.factories import make_guest, make_superuser, make_user

pytestmark = pytest.mark.django_db
WAIT_SECONDS = 20


@pytest.fixture(scope="module")
def cluster():
    with DemoCluster(time_scale=0.05) as running:
        yield running


@pytest.fixture(scope="module")
def secret(cluster):
    """Of a token that may do more than the demo's own, which has power over one pool only."""
    return cluster.add_token("admin@pve", "web", {"/": ["PVEAdmin"]})


@pytest.fixture
def source(cluster, secret):
    source = sources.add_source(
        actor=None,
        name="demo",
        urls=cluster.urls,
        fingerprints=[cluster.fingerprint],
        token_id="admin@pve!web",
        token_secret=secret,
    )
    sources.check_source(source, actor=None)
    return source


@pytest.fixture
def client(source):
    return connections.client_of(source)


def find_guest(source, client, *, status="stopped", is_template=False):
    """One on which the token may do something."""
    permissions = client.fetch_permissions()
    privilege = "VM.Clone" if is_template else "VM.PowerMgmt"
    for row in sorted(client.fetch_resources("vm"), key=lambda row: row.vmid):
        is_fit = row.type == "qemu" and row.template == is_template and row.status == status and not row.lock
        if is_fit and permissions.allows(f"/vms/{row.vmid}", privilege):
            return make_guest(
                source, vmid=row.vmid, name=row.name, node=row.node, status=status, is_template=is_template
            )
    raise AssertionError("the demo cluster has no such guest")


def submit(guest, action, **parameters):
    submission = submit_guest_action(
        guest,
        actor=make_user(Role.OPERATOR),
        action=action,
        parameters=parameters,
        idempotency_key=uuid.uuid4().hex,
    )
    deliver_submission(submission.pk)
    submission.refresh_from_db()
    return submission


def follow(client, submission):
    """Read the task until it has ended, as the poller does, and settle."""
    deadline = time.monotonic() + WAIT_SECONDS
    task = Task.objects.get(submission=submission)
    while time.monotonic() < deadline:
        seen = client.fetch_task(task.node, task.remote_id)
        ingest_observations(submission.source, [seen], at=now())
        task.refresh_from_db()
        if task.is_final:
            settle_submissions()
            submission.refresh_from_db()
            return task
        time.sleep(0.05)
    raise AssertionError(f"{task} did not end")


def test_a_guest_is_started_and_stopped(source, client):
    guest = find_guest(source, client)
    for action, status in (("start", "running"), ("stop", "stopped")):
        Guest.objects.update(status="")
        guest.refresh_from_db()
        submission = submit(guest, action)
        assert submission.error == ""
        follow(client, submission)
        assert submission.state == State.COMPLETED
        assert {row.vmid: row.status for row in client.fetch_resources("vm")}[guest.vmid] == status


def test_a_template_is_cloned_under_a_vmid_of_our_own(source, client):
    template = find_guest(source, client, is_template=True)
    submission = submit(template, "clone", name="web-07", full=False)
    assert submission.error == ""
    task = follow(client, submission)
    assert (submission.state, submission.error) == (State.COMPLETED, "")
    assert task.new_vmid == submission.new_vmid
    assert submission.new_vmid in {row.vmid for row in client.fetch_resources("vm")}


def test_a_call_that_was_cut_off_is_found_again(source, client):
    guest = find_guest(source, client, status="running")
    submission = submit_guest_action(
        guest, actor=make_user(Role.OPERATOR), action="stop", parameters={}, idempotency_key="k"
    )
    Submission.objects.update(called_at=now())
    upid = client.stop_guest("qemu", guest.node, guest.vmid)  # and here the plug was pulled
    deliver_submission(submission.pk)
    submission.refresh_from_db()
    assert (submission.state, submission.remote_id) == (State.PROCESSING, upid)
    follow(client, submission)


def test_a_running_task_is_cancelled_and_leaves_nothing(source, client):
    template = find_guest(source, client, is_template=True)
    submission = submit(template, "clone", name="web-08", full=True)
    assert submission.error == ""
    task = Task.objects.get(submission=submission)
    cancel_task(task, actor=make_superuser())
    deliver_cancel(task.pk)
    task.refresh_from_db()
    assert task.cancel_error == ""
    assert task.cancel_note == "Nothing was left behind."
    assert follow(client, submission).state == State.CANCELLED
    assert submission.state == State.CANCELLED


def test_a_cancel_may_come_too_late(source, client, cluster):
    upid = cluster.start_task(user=source.token_id, seconds=0.0)
    cluster_task = client.fetch_task("pve1", upid)
    ingest_observations(source, [cluster_task], at=now())
    Task.objects.update(state=State.PROCESSING, ended_at=None, exit_text="")
    task = Task.objects.get()
    deadline = time.monotonic() + WAIT_SECONDS
    while client.fetch_task("pve1", upid).running and time.monotonic() < deadline:
        time.sleep(0.05)
    cancel_task(task, actor=make_superuser())
    deliver_cancel(task.pk)
    task.refresh_from_db()
    assert task.cancel_note == TOO_LATE


def test_checking_reads_version_and_permissions(source):
    Source.objects.update(version="", permissions={}, permissions_at=None)
    check = sources.check_source(source, actor=make_superuser())
    source.refresh_from_db()
    assert check.problem == ""
    assert source.version.startswith("9.")
    assert source.permissions["/"]["Sys.Audit"] == 1
    entry = AuditEntry.objects.order_by("pk").last()
    assert (entry.action, entry.result) == ("source.check", "done")


def test_a_failed_check_is_said_and_audited(source):
    sources.replace_token(source, actor=None, token_id=source.token_id, token_secret="wrong-secret")
    check = sources.check_source(source, actor=None)
    assert "does not accept the API token" in check.problem
    assert AuditEntry.objects.order_by("pk").last().result == "failed"
