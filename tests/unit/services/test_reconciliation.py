"""Looking for proof on the source: which task may be the one that was started, and when nothing is proven."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import Submission
from tasks_app.services.reconciliation import (
    ABSENCE_SECONDS,
    Happened,
    NothingHappened,
    TooEarly,
    Unclear,
    find_proof,
)
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.proxmox import NodeTasks, Resource
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db


def make_called(action="start", *, seconds_ago=120, **fields):
    called_at = (now() - timedelta(seconds=seconds_ago)).replace(microsecond=0)
    defaults = {
        "source": fields.pop("source", None) or make_source(),
        "action": action,
        "guest_kind": "qemu",
        "node": "pve1",
        "vmid": 100,
        "actor": make_user(),
        "idempotency_key": "key",
        "called_at": called_at,
        "new_vmid": 303 if action == "clone" else None,
    }
    return Submission.objects.create(**(defaults | fields))


def judge(remote, submission):
    return find_proof(remote, submission, at=now())


def after(submission, seconds=1):
    return submission.called_at + timedelta(seconds=seconds)


def test_our_task_since_the_call_is_proof(remote):
    submission = make_called()
    upid = remote.add_task(started_at=after(submission))
    assert judge(remote, submission) == Happened(upid)


@pytest.mark.parametrize("exit_text", ["OK", "command failed"])
def test_a_task_that_has_ended_is_proof_too(remote, exit_text):
    submission = make_called()
    upid = remote.add_task(started_at=after(submission), exit_text=exit_text)
    assert judge(remote, submission) == Happened(upid)


def test_the_request_of_an_ha_guest_is_proof(remote):
    submission = make_called()
    upid = remote.add_task(type="hastart", started_at=after(submission))
    assert judge(remote, submission) == Happened(upid)


@pytest.mark.parametrize(
    "task",
    [
        {"user": "root@pam", "token": ""},
        {"token": "other"},
        {"user": "portal@pve", "token": ""},
        {"object_id": "101"},
        {"type": "qmstop"},
        {"type": "vzstart"},
    ],
)
def test_what_is_not_ours_proves_nothing(remote, task):
    submission = make_called()
    remote.add_task(started_at=after(submission), **task)
    assert judge(remote, submission) == NothingHappened()


def test_what_began_before_the_call_proves_nothing(remote):
    submission = make_called()
    remote.add_task(started_at=after(submission, -30))
    assert judge(remote, submission) == NothingHappened()


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_the_clock_of_the_source_is_what_counts(remote, skew):
    submission = make_called()
    remote.clock_skew_seconds = skew
    upid = remote.add_task(started_at=after(submission, skew + 1))
    remote.add_task(started_at=after(submission, skew - 60))
    assert judge(remote, submission) == Happened(upid)


def test_the_task_of_another_submission_is_not_taken(remote):
    source = make_source()
    submission = make_called(source=source)
    upid = remote.add_task(started_at=after(submission))
    make_called(source=source, remote_id=upid, answered_at=now())
    assert judge(remote, submission) == NothingHappened()


def test_a_task_the_portal_knew_before_the_call_is_not_taken(remote):
    submission = make_called()
    upid = remote.add_task(started_at=after(submission))
    make_task(submission.source, remote_id=upid, seen_at=after(submission, -1))
    assert judge(remote, submission) == NothingHappened()


def test_two_that_may_be_it_are_no_proof(remote):
    submission = make_called()
    for _ in range(2):
        remote.add_task(started_at=after(submission))
    assert isinstance(judge(remote, submission), Unclear)


def test_nothing_yet_is_too_early_while_the_job_that_called_may_live(remote, settings):
    assert settings.JOB_TIMEOUT_SECONDS + 3 < ABSENCE_SECONDS
    assert judge(remote, make_called(seconds_ago=ABSENCE_SECONDS - 5)) == TooEarly()
    assert judge(remote, make_called(seconds_ago=ABSENCE_SECONDS + 1)) == NothingHappened()


def test_a_refused_list_is_no_proof(remote):
    remote.fails["fetch_node_tasks"] = [SourceRefused("403", kind="forbidden", status=403)]
    assert isinstance(judge(remote, make_called()), Unclear)


def test_a_long_list_is_read_page_by_page(remote):
    submission = make_called()
    for _ in range(700):
        remote.add_task(started_at=after(submission), user="root@pam", token="")
    upid = remote.add_task(started_at=after(submission))
    assert judge(remote, submission) == Happened(upid)


def test_a_list_without_end_is_no_proof(remote):
    def page(node, **_):
        remote.calls.append(("page",))
        return NodeTasks([], 10**9, 500)

    remote.fetch_node_tasks = page
    assert isinstance(judge(remote, make_called()), Unclear)
    assert remote.count("page") < 100


def test_clones_of_one_template_are_told_apart_by_the_log(remote):
    submission = make_called("clone")
    for new_vmid in (302, 303, 304):
        log = (f"creating a clone of VM 100 with ID {new_vmid}",)
        upid = remote.add_task(type="qmclone", started_at=after(submission), log=log)
        if new_vmid == 303:
            ours = upid
    assert judge(remote, submission) == Happened(ours)


def test_clones_that_made_other_guests_prove_nothing(remote):
    submission = make_called("clone")
    log = ("creating a clone of VM 100 with ID 302",)
    remote.add_task(type="qmclone", started_at=after(submission), log=log)
    assert judge(remote, submission) == NothingHappened()


def test_a_lone_clone_that_failed_before_it_said_anything_is_ours(remote):
    submission = make_called("clone")
    log = ("TASK ERROR: can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout",)
    upid = remote.add_task(type="qmclone", started_at=after(submission), log=log, exit_text="can't lock file")
    assert judge(remote, submission) == Happened(upid)


def test_a_vmid_that_exists_without_a_clone_of_ours_is_unclear(remote):
    submission = make_called("clone")
    remote.guests = [Resource("qemu/303", "qemu", node="pve1", vmid=303, lock="clone")]
    verdict = judge(remote, submission)
    assert isinstance(verdict, Unclear)
    assert "VMID 303 exists now" in verdict.reason
