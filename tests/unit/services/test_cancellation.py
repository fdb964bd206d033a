"""Cancelling: who may, what is written, what is sent, and what is said afterwards."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.audit.context import Origin, set_origin
from tasks_app.errors import NotPermitted, PrivilegeMissing, SourcePaused, TaskAlreadyFinished
from tasks_app.models import AuditEntry, Role, Task, TaskEvent
from tasks_app.services import cancel_wishes, cancellation
from tasks_app.services.cancellation import cancel_obstacle, cancel_task, deliver_cancel, pick_up_cancels
from tasks_app.services.claims import CLAIM_SECONDS
from tasks_app.sources.errors import SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Resource
from tasks_app.states import State
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db


def make_asked(
    remote, *, type="qmclone", source=None, log=("creating a clone of VM 100 with ID 303",), **fields
):
    """A running task of ours on the remote whose cancel was asked for."""
    asked = {"remote_user": "portal@pve", "remote_token": "web", "cancel_requested_at": now()}
    task = make_task(source, type=type, **(asked | fields))
    remote.add_task(type=type, upid=task.remote_id, log=log)
    return task


def test_an_operator_cancels_and_it_is_audited_once(audited, queued, django_capture_on_commit_callbacks):
    task = make_task()
    operator = make_user(Role.OPERATOR, source=task.source)
    with django_capture_on_commit_callbacks(execute=True):
        cancel_task(task, actor=operator, reason=" wrong template ")
    task.refresh_from_db()
    assert task.is_cancelling
    assert task.cancel_requested_by == operator
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name, entry.source_name) == (
        "task.cancel",
        operator.username,
        task.source.name,
    )
    assert entry.data == {"reason": "wrong template", "upid": task.remote_id}
    assert queued() == [("cancel", (task.pk,))]
    assert list(TaskEvent.objects.values_list("task_id", "kind")) == [(task.pk, "state")]


def test_the_request_id_of_the_click_stands_in_the_entry():
    task = make_task()
    set_origin(Origin("click-7", "192.0.2.7", "browser"))
    try:
        cancel_task(task, actor=make_user(Role.OPERATOR))
    finally:
        set_origin(Origin())
    entry = AuditEntry.objects.get()
    assert (entry.request_id, entry.ip) == ("click-7", "192.0.2.7")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, None])
def test_who_may_not_cancel_changes_nothing(role, audited):
    task = make_task()
    with pytest.raises(NotPermitted):
        cancel_task(task, actor=make_user(role))
    task.refresh_from_db()
    assert task.cancel_requested_at is None
    assert audited() == []


def test_an_operator_of_another_source_may_not():
    task = make_task()
    with pytest.raises(NotPermitted):
        cancel_task(task, actor=make_user(Role.OPERATOR, source=make_source()))


def test_asking_twice_is_one_entry_and_one_job(audited, queued, django_capture_on_commit_callbacks):
    task = make_task()
    operator = make_user(Role.OPERATOR)
    with django_capture_on_commit_callbacks(execute=True):
        cancel_task(task, actor=operator)
        first = Task.objects.get().cancel_requested_at
        cancel_task(task, actor=make_user(Role.OPERATOR))
    assert audited() == ["task.cancel"]
    assert len(queued()) == 1
    assert Task.objects.get().cancel_requested_at == first
    assert Task.objects.get().cancel_requested_by == operator


def test_a_finished_task_cannot_be_cancelled(audited):
    task = make_task(state=State.COMPLETED)
    with pytest.raises(TaskAlreadyFinished):
        cancel_task(task, actor=make_user(Role.OPERATOR))
    assert audited() == []


def test_a_row_that_was_read_before_the_end_does_not_cancel():
    task = make_task()
    stale = Task.objects.get(pk=task.pk)
    Task.objects.update(state=State.COMPLETED)
    with pytest.raises(TaskAlreadyFinished):
        cancel_task(stale, actor=make_user(Role.OPERATOR))


def test_nothing_is_sent_to_a_paused_source():
    task = make_task(make_source(paused_at=now()))
    with pytest.raises(SourcePaused):
        cancel_task(task, actor=make_user(Role.OPERATOR))


def test_a_missing_privilege_is_named_instead_of_failing_later(audited):
    task = make_task(make_source(permissions={"/": {"Sys.Audit": 1}}))
    with pytest.raises(PrivilegeMissing) as refusal:
        cancel_task(task, actor=make_user(Role.OPERATOR))
    assert (refusal.value.privilege, refusal.value.path) == ("Sys.Modify", "/nodes/pve1")
    assert "root@pam" in str(refusal.value)
    assert audited() == []


@pytest.mark.parametrize(
    ("permissions", "owner", "is_obstacle"),
    [
        ({}, ("portal@pve", "web"), False),
        ({}, ("portal@pve", "other"), True),
        ({}, ("portal@pve", ""), True),
        ({"/": {"Sys.Modify": 1}}, ("root@pam", ""), False),
        ({"/": {"Sys.Modify": 0}}, ("root@pam", ""), True),
        ({"/nodes": {"Sys.Modify": 1}}, ("root@pam", ""), False),
        ({"/nodes/pve1": {"Sys.Modify": 0}}, ("root@pam", ""), False),
        ({"/nodes/pve2": {"Sys.Modify": 1}}, ("root@pam", ""), True),
        ({"/": {"Sys.Modify": 1}, "/nodes": {"Sys.Audit": 1}}, ("root@pam", ""), True),
    ],
)
def test_whose_tasks_the_token_may_stop(permissions, owner, is_obstacle):
    task = make_task(make_source(permissions=permissions), remote_user=owner[0], remote_token=owner[1])
    assert (cancel_obstacle(task, task.source) is not None) == is_obstacle


def test_while_permissions_are_unknown_the_source_decides():
    source = make_source(permissions={}, permissions_at=None)
    assert cancel_obstacle(make_task(source), source) is None


def test_the_delivery_stops_the_task_and_says_that_nothing_is_left(remote):
    task = make_asked(remote)
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert remote.count("stop_task") == 1
    assert task.cancel_note == "Nothing was left behind."
    assert task.cancel_delivered_at is not None
    assert task.cancel_error == ""


def test_the_final_state_is_left_to_the_poller(remote):
    task = make_asked(remote)
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.state == State.PROCESSING


def test_delivering_twice_stops_once(remote):
    task = make_asked(remote)
    deliver_cancel(task.pk, client=remote)
    deliver_cancel(task.pk, client=remote)
    assert remote.count("stop_task") == 1


def test_a_delivery_under_way_is_not_disturbed(remote):
    task = make_asked(remote, cancel_delivered_at=now())
    deliver_cancel(task.pk, client=remote)
    assert remote.calls == []


def test_a_task_nobody_asked_to_cancel_is_left_alone(remote):
    task = make_task()
    remote.add_task(upid=task.remote_id)
    deliver_cancel(task.pk, client=remote)
    assert remote.calls == []


def test_a_locked_target_is_reported_with_the_commands_for_an_admin(remote):
    task = make_asked(remote)
    remote.guests = [Resource("qemu/303", "qemu", node="pve1", vmid=303, lock="clone")]
    remote.configs[303] = {"scsi0": "local-lvm:vm-303-disk-0,size=32G", "net0": "virtio"}
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note.startswith("2 leftovers: VM 303 is locked (clone); disk local-lvm:vm-303-disk-0.")
    assert "`qm unlock 303 && qm destroy 303" in task.cancel_note


def test_a_target_whose_configuration_may_not_be_read_is_reported_all_the_same(remote):
    task = make_asked(remote)
    remote.guests = [Resource("lxc/303", "lxc", node="pve1", vmid=303, lock="create")]
    remote.fails["fetch_guest_config"] = [SourceRefused("no", kind="forbidden", status=403)]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note.startswith("1 leftover: CT 303 is locked (create).")
    assert "`pct unlock 303" in task.cancel_note


def test_a_backup_that_leaves_its_guest_locked_is_reported(remote):
    task = make_asked(remote, type="vzdump", log=())
    remote.guests = [Resource("qemu/100", "qemu", node="pve1", vmid=100, lock="backup")]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert "VM 100 is locked (backup)" in task.cancel_note


def test_an_unknown_new_vmid_is_said_and_not_guessed(remote):
    task = make_asked(remote, log=())
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert "does not know the VMID" in task.cancel_note


@pytest.mark.parametrize("exit_text", ["OK", "WARNINGS: 2"])
def test_it_may_finish_before_the_cancel_arrives(remote, exit_text):
    task = make_asked(remote)
    remote.end_task(task.remote_id, exit_text)
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note == cancellation.TOO_LATE
    assert remote.count("stop_task") == 0


def test_it_may_finish_while_the_cancel_is_under_way(remote):
    task = make_asked(remote)
    remote.stopped_text = "OK"
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note == cancellation.TOO_LATE


def test_a_failure_of_its_own_is_not_called_cancelled(remote):
    task = make_asked(remote)
    remote.end_task(task.remote_id, "no space left on device")
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_requested_at is None
    assert task.cancel_note == cancellation.ENDED_BY_ITSELF


@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailable("pve1 does not answer.", kind="timeout"),
        SourceNeedsPerson("401", kind="unauthorized"),
    ],
)
@pytest.mark.parametrize("method", ["fetch_task", "stop_task", "fetch_resources"])
def test_a_source_in_trouble_is_asked_again(remote, queued, error, method):
    task = make_asked(remote)
    remote.fails[method] = [error]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_requested_at is not None
    assert task.cancel_error == f"{error} The portal tries again."
    pick_up_cancels()
    assert queued() == [("cancel", (task.pk,))]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note != ""
    assert task.cancel_error == ""


def test_a_refusal_takes_the_request_back_and_stays_readable(remote, queued):
    task = make_asked(remote)
    remote.fails["stop_task"] = [
        SourceRefused("403", kind="forbidden", status=403, privilege="Sys.Modify", path="/nodes/pve1")
    ]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert not task.is_cancelling
    assert (
        task.cancel_error == "The source refused: the token portal@pve!web lacks Sys.Modify on /nodes/pve1."
    )
    pick_up_cancels()
    assert queued() == []


def test_after_a_refusal_one_may_ask_again(remote, audited):
    task = make_task(cancel_error="The source refused.")
    cancel_task(task, actor=make_user(Role.OPERATOR))
    task.refresh_from_db()
    assert task.cancel_error == ""
    assert audited() == ["task.cancel"]


def test_a_killed_delivery_is_finished_by_another(remote, queued):
    long_ago = now() - timedelta(seconds=CLAIM_SECONDS + 1)
    task = make_asked(remote, cancel_delivered_at=long_ago)
    remote.end_task(task.remote_id, "interrupted by signal")
    remote.guests = [Resource("qemu/303", "qemu", node="pve1", vmid=303, lock="clone")]
    remote.configs[303] = {}
    pick_up_cancels()
    assert queued() == [("cancel", (task.pk,))]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_note.startswith("1 leftover: VM 303")
    assert remote.count("stop_task") == 0


def test_a_delivery_that_renews_its_claim_is_left_alone(remote, queued):
    long_ago = now() - timedelta(seconds=CLAIM_SECONDS + 1)
    task = make_asked(remote, cancel_delivered_at=long_ago)
    cancel_wishes.renew(task.pk)
    pick_up_cancels()
    assert queued() == []


def test_a_late_renewal_takes_nothing_back(remote, queued):
    task = make_asked(remote)
    remote.fails["stop_task"] = [SourceUnavailable("pve1 does not answer.", kind="timeout")]
    deliver_cancel(task.pk, client=remote)
    cancel_wishes.renew(task.pk)
    pick_up_cancels()
    assert queued() == [("cancel", (task.pk,))]


def test_a_source_that_fails_is_asked_at_the_pace_of_the_poller(queued):
    source = make_source(failing_since=now(), next_pass_at=now() + timedelta(minutes=1))
    make_task(source, cancel_requested_at=now())
    pick_up_cancels()
    assert queued() == []
    source.next_pass_at = now()
    source.save()
    pick_up_cancels()
    assert len(queued()) == 1


def test_a_paused_source_keeps_its_cancels_waiting(remote, queued):
    task = make_asked(remote, source=make_source(paused_at=now()))
    pick_up_cancels()
    deliver_cancel(task.pk, client=remote)
    assert queued() == []
    assert remote.calls == []


def test_what_is_refused_after_the_stop_takes_nothing_back(remote):
    task = make_asked(remote)
    remote.fails["fetch_resources"] = [SourceRefused("Permission check failed", kind="forbidden", status=403)]
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.is_cancelling
    assert task.cancel_note == "The portal could not look for leftovers: Permission check failed"


def test_a_task_that_the_source_has_forgotten_says_so(remote):
    task = make_task(cancel_requested_at=now())
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert (task.is_cancelling, task.cancel_error) == (False, "The source does not know this task any more.")


def test_an_ended_task_that_the_source_has_forgotten_stays_cancelled(remote):
    task = make_task(state=State.CANCELLED, cancel_requested_at=now())
    deliver_cancel(task.pk, client=remote)
    task.refresh_from_db()
    assert task.cancel_requested_at is not None
    assert "could not look for leftovers" in task.cancel_note
