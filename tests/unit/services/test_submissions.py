"""Starting things on guests: who may, what is written before the call, what is called, and how it ends."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import InvalidInput, NotPermitted, SourcePaused
from tasks_app.models import AuditEntry, Guest, Role, Source, Submission, Task
from tasks_app.services import delivery
from tasks_app.services.claims import CLAIM_SECONDS
from tasks_app.services.submissions import (
    deliver_submission,
    obstacle,
    pick_up_submissions,
    settle_submissions,
    submit_guest_action,
)
from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Resource
from tasks_app.states import State
from tests.factories import make_guest, make_source, make_user

pytestmark = pytest.mark.django_db

CLONE = {"name": "web-07", "full": True}
ACTIONS = [
    ("start", {}, "start_guest", "qmstart"),
    ("stop", {}, "stop_guest", "qmstop"),
    ("shutdown", {}, "shutdown_guest", "qmshutdown"),
    ("reboot", {}, "reboot_guest", "qmreboot"),
    ("snapshot", {"name": "before-upgrade"}, "create_snapshot", "qmsnapshot"),
    ("clone", CLONE, "clone_guest", "qmclone"),
]
LOCK = "can't lock file '/var/lock/qemu-server/lock-{}.conf' - got timeout"


def submit(guest=None, action="start", parameters=None, *, actor=None, key="key-1"):
    guest = guest or make_guest(status="")
    actor = actor or make_user(Role.OPERATOR)
    return submit_guest_action(
        guest, actor=actor, action=action, parameters=parameters or {}, idempotency_key=key
    )


def make_due(submission):
    """Lets the pause of the back-off be over."""
    Submission.objects.filter(pk=submission.pk).update(next_attempt_at=now())


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS)
def test_an_operator_starts_it_and_it_is_audited_once(remote, audited, action, parameters, method, type):
    guest = make_guest(vmid=100)
    operator = make_user(Role.OPERATOR, source=guest.source)
    submission = submit(guest, action, parameters, actor=operator)
    assert submission.state == State.PENDING
    assert audited() == ["submission.submit"]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert remote.count(method) == 1
    assert submission.state == State.PROCESSING
    task = Task.objects.get()
    assert (task.type, task.vmid, task.submission_id, task.remote_id) == (
        type,
        100,
        submission.pk,
        submission.remote_id,
    )
    assert audited() == ["submission.submit", "task.began"]


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS)
def test_a_viewer_may_not(audited, action, parameters, method, type):
    with pytest.raises(NotPermitted):
        submit(None, action, parameters, actor=make_user(Role.VIEWER))
    assert not Submission.objects.exists()
    assert audited() == []


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS)
def test_an_operator_of_another_source_may_not(action, parameters, method, type):
    with pytest.raises(NotPermitted):
        submit(None, action, parameters, actor=make_user(Role.OPERATOR, source=make_source()))


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS)
def test_containers_are_called_by_their_own_kind(remote, action, parameters, method, type):
    submission = submit(make_guest(kind=Guest.LXC), action, parameters)
    deliver_submission(submission.pk, client=remote)
    assert [call[1] for call in remote.calls if call[0] == method] == ["lxc"]
    assert Task.objects.get().type == type.replace("qm", "vz")


def test_the_same_key_gives_the_first_submission_again(audited, queued, django_capture_on_commit_callbacks):
    guest, operator = make_guest(), make_user(Role.OPERATOR)
    with django_capture_on_commit_callbacks(execute=True):
        first = submit(guest, actor=operator)
        second = submit(guest, actor=operator)
    assert first == second
    assert audited() == ["submission.submit"]
    assert queued() == [("deliver", (first.pk,))]


def test_keys_of_different_people_do_not_meet():
    guest = make_guest()
    assert submit(guest) != submit(guest)


@pytest.mark.parametrize("key", ["", "x" * 65])
def test_a_key_is_needed(key):
    with pytest.raises(InvalidInput) as refusal:
        submit(key=key)
    assert "idempotency_key" in refusal.value.fields


def test_nothing_is_submitted_to_a_paused_source():
    with pytest.raises(SourcePaused):
        submit(make_guest(make_source(paused_at=now())))


def test_a_guest_that_is_gone_takes_nothing():
    with pytest.raises(InvalidInput):
        submit(make_guest(gone_at=now()))


@pytest.mark.parametrize(
    ("action", "parameters", "field"),
    [
        ("fly", {}, "action"),
        ("start", {"force": "1"}, "force"),
        ("snapshot", {}, "name"),
        ("snapshot", {"name": "a"}, "name"),
        ("snapshot", {"name": "1st"}, "name"),
        ("snapshot", {"name": "ab\n"}, "name"),
        ("snapshot", {"name": "größe"}, "name"),
        ("snapshot", {"name": "x" * 41}, "name"),
        ("snapshot", {"name": "current"}, "name"),
        ("snapshot", {"name": "ok", "description": "\x1b[2J"}, "description"),
        ("snapshot", {"name": 7}, "name"),
        ("clone", {}, "name"),
        ("clone", {"name": "web_07"}, "name"),
        ("clone", {"name": "-web"}, "name"),
        ("clone", {"name": "web-"}, "name"),
        ("clone", {"name": "web."}, "name"),
        ("clone", {"name": "x" * 64}, "name"),
        ("clone", {"name": ".".join(["abc"] * 17)}, "name"),
        ("clone", {"name": "web", "full": "yes"}, "full"),
        ("clone", {"name": "web", "full": False}, "full"),
        ("clone", {"name": "web", "storage": "../etc"}, "storage"),
        ("clone", {"name": "web", "pool": "a b"}, "pool"),
        ("clone", {"name": "web", "self": "x"}, "self"),
    ],
)
def test_parameters_that_cannot_be_used_are_named(action, parameters, field, audited):
    with pytest.raises(InvalidInput) as refusal:
        submit(None, action, parameters)
    assert list(refusal.value.fields) == [field]
    assert audited() == []


@pytest.mark.parametrize("name", ["ab", "A-b_9", "x" * 40])
def test_snapshot_names_that_proxmox_takes_pass(name):
    assert submit(None, "snapshot", {"name": name}).parameters["name"] == name


@pytest.mark.parametrize("name", ["w", "web-07", "Web.example.org", "1", "x" * 63])
def test_host_names_pass(name):
    assert submit(None, "clone", {"name": name}).parameters["name"] == name


def test_a_template_is_cloned_and_not_started():
    template = make_guest(is_template=True, status="stopped")
    assert submit(template, "clone", {"name": "web", "full": False}).parameters["full"] is False
    with pytest.raises(InvalidInput):
        submit(template, "start", key="key-2")


def test_a_linked_clone_takes_no_storage():
    with pytest.raises(InvalidInput) as refusal:
        submit(make_guest(is_template=True), "clone", {"name": "web", "full": False, "storage": "local"})
    assert list(refusal.value.fields) == ["storage"]


def test_a_clone_is_called_with_a_reserved_vmid(remote):
    submission = submit(None, "clone", CLONE | {"storage": "local-lvm", "pool": "portal"})
    deliver_submission(submission.pk, client=remote)
    (call,) = [call for call in remote.calls if call[0] == "clone_guest"]
    assert call[4] == {
        "new_vmid": 300,
        "name": "web-07",
        "full": True,
        "storage": "local-lvm",
        "pool": "portal",
        "description": "",
        "target": "",
        "format": "",
    }
    task = Task.objects.get()
    assert (task.new_vmid, task.new_name) == (300, "web-07")


def test_vmids_in_use_or_reserved_are_skipped(remote):
    source = make_source()
    other = submit(make_guest(source), "clone", CLONE)
    deliver_submission(other.pk, client=remote)  # 300
    make_guest(source, vmid=301)
    remote.guests = [Resource("qemu/302", "qemu", node="pve1", vmid=302)]
    submission = submit(make_guest(source), "clone", CLONE)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.new_vmid == 303


def test_a_vmid_that_somebody_has_taken_meanwhile_leads_to_the_next(remote):
    remote.fails["clone_guest"] = [
        SourceRefused("unable to create VM 300: config file already exists", kind="remote_error", status=500)
    ]
    submission = submit(None, "clone", CLONE)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.new_vmid, submission.state) == (301, State.PROCESSING)


def test_vmids_are_not_tried_for_ever(remote):
    taken = SourceRefused(
        "unable to create VM 300: config file already exists", kind="remote_error", status=500
    )
    remote.fails["clone_guest"] = [taken] * 100
    submission = submit(None, "clone", CLONE)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.FAILED
    assert remote.count("clone_guest") == delivery.MAX_VMIDS


def test_the_intent_is_written_before_the_call(remote):
    seen = []

    class Watching(type(remote)):
        def _call(self, method, *details):
            if method == "start_guest":
                row = Submission.objects.get()
                seen.append((row.called_at is not None, row.answered_at))
            super()._call(method, *details)

    submission = submit()
    deliver_submission(submission.pk, client=Watching())
    assert seen == [(True, None)]
    submission.refresh_from_db()
    assert submission.answered_at >= submission.called_at


def test_delivering_twice_calls_once(remote):
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    deliver_submission(submission.pk, client=remote)
    assert remote.count("start_guest") == 1


def test_a_delivery_under_way_is_not_disturbed(remote):
    submission = submit()
    Submission.objects.update(lease_until=now() + timedelta(seconds=30))
    deliver_submission(submission.pk, client=remote)
    assert remote.calls == []


def test_a_killed_delivery_is_free_within_seconds(queued):
    submission = submit()
    delivery.claim(submission.pk)
    pick_up_submissions()
    assert queued() == []
    assert Submission.objects.get().lease_until - now() <= timedelta(seconds=CLAIM_SECONDS)
    Submission.objects.update(lease_until=now() - timedelta(seconds=1))
    pick_up_submissions()
    assert queued() == [("deliver", (submission.pk,))]


def test_a_slow_delivery_keeps_its_row(remote):
    submission = submit()
    held = delivery.claim(submission.pk)
    Submission.objects.update(lease_until=now() - timedelta(seconds=1))
    delivery._renew(held.pk, held.attempts)
    deliver_submission(submission.pk, client=remote)
    assert remote.calls == []


@pytest.mark.parametrize(("action", "parameters"), [("start", {}), ("clone", CLONE)])
def test_a_job_that_has_lost_its_row_calls_nothing(remote, action, parameters):
    submission = submit(None, action, parameters)
    late = delivery.claim(submission.pk)
    Submission.objects.update(lease_until=now() - timedelta(seconds=1))
    delivery.claim(submission.pk)
    delivery._renew(late.pk, late.attempts)
    delivery.bring(late, remote)
    assert remote.count(f"{action}_guest") == 0
    submission.refresh_from_db()
    assert (submission.called_at, submission.new_vmid) == (None, None)


def test_a_submission_of_a_paused_source_is_given_up_like_any_other(remote):
    submission = submit()
    Source.objects.update(paused_at=now())
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.PENDING
    Submission.objects.update(created_at=now() - timedelta(minutes=16), next_attempt_at=now())
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.FAILED
    assert "within 15 minutes" in submission.error


@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailable("pve1 refuses connections.", kind="refused"),
        SourceNeedsPerson("401", kind="unauthorized"),
    ],
)
def test_a_source_that_cannot_be_reached_is_tried_again(remote, error, queued):
    remote.fails["start_guest"] = [error]
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.PENDING
    assert submission.called_at is None
    assert submission.error == str(error)
    assert submission.next_attempt_at > now()
    pick_up_submissions()
    assert queued() == []
    make_due(submission)
    pick_up_submissions()
    assert queued() == [("deliver", (submission.pk,))]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.error) == (State.PROCESSING, "")


def test_pauses_grow_up_to_two_minutes():
    seconds = [delivery.back_off(attempts).total_seconds() for attempts in range(1, 9)]
    assert seconds == [5, 10, 20, 40, 80, 120, 120, 120]


def test_nothing_is_done_long_after_the_click(remote):
    submission = submit()
    Submission.objects.update(created_at=now() - timedelta(minutes=16), error="pve1 refuses connections.")
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.FAILED
    assert "Nothing was done. Last: pve1 refuses connections." in submission.error
    assert remote.count("start_guest") == 0


def test_a_pause_of_the_source_holds_the_delivery(remote):
    guest = make_guest()
    submission = submit(guest)
    type(guest.source).objects.update(paused_at=now())
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert remote.calls == []
    assert (submission.state, submission.error) == (State.PENDING, "The source is paused.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            SourceRefused("403", kind="forbidden", status=403, privilege="VM.PowerMgmt", path="/vms/100"),
            "The token portal@pve!web may not do this: it lacks VM.PowerMgmt on /vms/100.",
        ),
        (SourceRefused("VM is locked (backup)", kind="locked", status=500), "VM is locked (backup)"),
        (SourceRefused("VM 301 not running", kind="remote_error", status=500), "VM 301 not running"),
    ],
)
def test_a_refusal_is_the_end_and_is_said_in_words(remote, error, words):
    remote.fails["start_guest"] = [error]
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.error) == (State.FAILED, words)
    assert submission.ended_at is not None


def test_a_bare_refusal_of_a_clone_names_the_likely_privilege(remote):
    remote.fails["clone_guest"] = [SourceRefused("Permission check failed", kind="forbidden", status=403)]
    submission = submit(None, "clone", CLONE | {"pool": "lab"})
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert "VM.Allocate on /pool/lab" in submission.error


def test_a_reservation_ends_with_its_submission(remote):
    remote.fails["clone_guest"] = [SourceRefused("VM is locked (backup)", kind="locked", status=500)]
    source = make_source()
    for expected in (300, 300):
        submission = submit(make_guest(source), "clone", CLONE)
        deliver_submission(submission.pk, client=remote)
        submission.refresh_from_db()
        assert submission.new_vmid == expected


def test_an_answer_that_names_no_task_is_unknown_and_not_repeated(remote):
    remote._start = lambda *args, **kwargs: "x" * 5000
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.LOST
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("exit_text", "state"),
    [("OK", State.COMPLETED), ("WARNINGS: 1", State.COMPLETED), ("disk full", State.FAILED)],
)
def test_it_ends_as_its_task_ends(remote, exit_text, state):
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    Task.objects.update(state=state, exit_text=exit_text, ended_at=now())
    settle_submissions()
    submission.refresh_from_db()
    assert submission.state == state
    assert submission.ended_at is not None
    assert submission.error == ("disk full" if state == State.FAILED else "")


def test_while_its_task_runs_it_stays_open(remote):
    submission = submit()
    deliver_submission(submission.pk, client=remote)
    settle_submissions()
    submission.refresh_from_db()
    assert submission.state == State.PROCESSING


def test_a_worker_killed_after_the_answer_loses_nothing(remote):
    submission = submit(make_guest(vmid=100))
    upid = remote.add_task()
    Submission.objects.update(state=State.PROCESSING, called_at=now(), answered_at=now(), remote_id=upid)
    settle_submissions()
    assert Task.objects.get().submission == submission


def test_a_task_that_the_poller_saw_first_is_joined(remote):
    from tasks_app.ingest.tasks import ingest_observations

    guest = make_guest(vmid=100)
    submission = submit(guest)
    upid = remote.add_task()
    ingest_observations(guest.source, [remote.tasks[upid]], at=now())
    Submission.objects.update(state=State.PROCESSING, called_at=now(), answered_at=now(), remote_id=upid)
    settle_submissions()
    assert Task.objects.get().submission == submission


def run_into(remote, submission, exit_text):
    """Deliver, and let the task fail with `exit_text`."""
    make_due(submission)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    Task.objects.filter(remote_id=submission.remote_id).update(
        state=State.FAILED, exit_text=exit_text, ended_at=now()
    )
    settle_submissions()
    submission.refresh_from_db()


def test_a_lock_of_the_source_guest_is_waited_for(remote, queued):
    submission = submit(make_guest(vmid=100), "clone", CLONE)
    run_into(remote, submission, LOCK.format(100))
    assert submission.state == State.PENDING
    assert (submission.remote_id, submission.called_at, submission.new_vmid) == ("", None, 300)
    make_due(submission)
    pick_up_submissions()
    assert queued() == [("deliver", (submission.pk,))]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.PROCESSING
    assert remote.count("clone_guest") == 2


def test_a_lock_is_not_waited_for_without_end(remote):
    submission = submit(make_guest(vmid=100), "clone", CLONE)
    for _ in range(10):
        if submission.is_final:
            break
        run_into(remote, submission, LOCK.format(100))
    assert submission.state == State.FAILED
    assert remote.count("clone_guest") == delivery.MAX_REPEATS


@pytest.mark.parametrize(
    "exit_text",
    [LOCK.format(300), "close (rename) atomic file '/etc/pve/nodes/pve1/lxc/300.conf' failed: File exists"],
)
def test_who_loses_the_race_for_a_vmid_takes_another(remote, exit_text):
    submission = submit(make_guest(vmid=100), "clone", CLONE)
    run_into(remote, submission, exit_text)
    assert (submission.state, submission.new_vmid) == (State.PENDING, None)


@pytest.mark.parametrize("exit_text", [LOCK.format(999), "VM is locked (backup)", "storage 'x' is full"])
def test_other_failures_stand(remote, exit_text):
    submission = submit(make_guest(vmid=100), "clone", CLONE)
    run_into(remote, submission, exit_text)
    assert (submission.state, submission.error) == (State.FAILED, exit_text)


def test_a_lock_named_by_the_call_itself_is_waited_for(remote):
    remote.fails["start_guest"] = [SourceRefused(LOCK.format(100), kind="locked", status=500)]
    submission = submit(make_guest(vmid=100))
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.called_at) == (State.PENDING, None)


def test_overdue_is_a_sign_by_the_limit_of_the_kind():
    start, clone = submit(), submit(None, "clone", CLONE)
    Submission.objects.update(created_at=now() - timedelta(minutes=10))
    settle_submissions()
    start.refresh_from_db()
    clone.refresh_from_db()
    assert start.overdue_since is not None
    assert start.state == State.PENDING
    assert clone.overdue_since is None


# Somebody pulled the plug between the call and its answer.


def cut_off(submission, *, seconds_ago=120):
    """As a killed worker leaves the row."""
    called_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    Submission.objects.filter(pk=submission.pk).update(
        called_at=called_at, lease_until=called_at + timedelta(seconds=9), created_at=called_at
    )
    return called_at


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS[:5])
def test_proof_on_the_source_is_adopted_and_nothing_called_again(remote, action, parameters, method, type):
    submission = submit(make_guest(vmid=100), action, parameters)
    upid = remote.add_task(type=type, started_at=cut_off(submission) + timedelta(seconds=1))
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.remote_id) == (State.PROCESSING, upid)
    assert remote.count(method) == 0
    assert Task.objects.get().submission == submission


@pytest.mark.parametrize(("action", "parameters", "method", "type"), ACTIONS)
def test_proven_absence_is_called_again(remote, action, parameters, method, type):
    submission = submit(make_guest(vmid=100), action, parameters)
    Submission.objects.update(new_vmid=300 if action == "clone" else None)
    cut_off(submission)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.PROCESSING
    assert remote.count(method) == 1


def test_without_proof_either_way_a_person_must_look(remote):
    submission = submit(make_guest(vmid=100))
    called_at = cut_off(submission)
    for _ in range(2):
        remote.add_task(started_at=called_at + timedelta(seconds=1))
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.LOST
    assert "It is not known whether this was carried out." in submission.error
    assert remote.count("start_guest") == 0


def test_absence_right_after_the_call_proves_nothing(remote):
    submission = submit(make_guest(vmid=100))
    called_at = cut_off(submission, seconds_ago=5)
    Submission.objects.update(lease_until=None)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.called_at) == (State.PENDING, called_at)
    assert remote.count("start_guest") == 0


def test_a_lost_answer_is_looked_for_and_not_called_again(remote):
    submission = submit(make_guest(vmid=100))
    remote.fails["start_guest"] = [OutcomeUnknown("pve1 did not answer in time.", kind="timeout")]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.called_at is not None
    upid = remote.add_task(started_at=submission.called_at + timedelta(seconds=1))
    make_due(submission)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.remote_id == upid
    assert remote.count("start_guest") == 1


def test_a_source_that_does_not_answer_leaves_the_question_open(remote):
    submission = submit(make_guest(vmid=100))
    called_at = cut_off(submission)
    remote.fails["fetch_node_tasks"] = [SourceUnavailable("pve1 does not answer.", kind="timeout")]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.state, submission.called_at) == (State.PENDING, called_at)


def test_after_a_day_of_silence_a_person_must_look(remote):
    submission = submit(make_guest(vmid=100))
    cut_off(submission, seconds_ago=90_000)
    remote.fails["fetch_node_tasks"] = [SourceUnavailable("pve1 does not answer.", kind="timeout")]
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.LOST


def test_absence_that_is_proven_late_ends_without_a_call(remote):
    submission = submit(make_guest(vmid=100))
    cut_off(submission, seconds_ago=3600)
    deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert submission.state == State.FAILED
    assert "Nothing was done." in submission.error


def test_the_audit_entry_tells_what_was_asked_for():
    guest = make_guest(vmid=100, name="web-01")
    submit(guest, "snapshot", {"name": "before"})
    entry = AuditEntry.objects.get()
    assert entry.target_name == "Snapshot web-01"
    assert entry.data["parameters"] == {"name": "before", "description": ""}
    assert re.fullmatch(r"member-\d+", entry.actor_name)


def test_pages_learn_what_speaks_against_an_action():
    source = make_source(permissions={"/vms": {"VM.PowerMgmt": 1}})
    running, stopped = make_guest(source, status="running"), make_guest(source, status="stopped")
    assert obstacle(running, "stop") == ""
    assert obstacle(running, "start") == "It is running already."
    assert obstacle(stopped, "start") == ""
    assert obstacle(stopped, "reboot") == "It is not running."
    assert (
        obstacle(stopped, "snapshot") == f"The token portal@pve!web lacks VM.Snapshot on /vms/{stopped.vmid}."
    )
    assert "template" in obstacle(make_guest(source, is_template=True), "start")
    assert "locked (backup)" in obstacle(make_guest(source, lock="backup"), "stop")
    assert "does not exist" in obstacle(make_guest(source, gone_at=now()), "stop")
    assert "paused" in obstacle(make_guest(make_source(paused_at=now())), "stop")
