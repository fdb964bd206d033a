"""The watch loop finds what waits for a job."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from django_q.brokers import get_broker
from django_q.signing import SignedPackage

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import Asset, AuditMark, Submission
from tasks_app.polling import errands
from tasks_app.polling.errands import enqueue_errands, enqueue_follow_up, enqueue_generation_follow_up
from tasks_app.queue import COPIES_AT_ONCE
from tasks_app.states import State
from tests.factories import (
    make_asset,
    make_generation,
    make_generation_source,
    make_machine,
    make_order,
    make_source,
    make_task,
)

pytestmark = pytest.mark.django_db


def make_submission(**fields):
    return Submission.objects.create(
        source=make_source(),
        action=Submission.Action.START,
        guest_kind="qemu",
        node="pve1",
        vmid=100,
        actor_name="member",
        idempotency_key="one",
        **fields,
    )


@pytest.fixture
def pick_ups():
    """Jobs enqueued since the test began; Redis keeps what earlier tests enqueued."""
    before = get_broker().queue_size()
    return lambda: get_broker().queue_size() - before


def test_nothing_open_enqueues_nothing(pick_ups):
    make_task(state=State.FAILED)
    enqueue_errands(now())
    assert pick_ups() == 0


def test_a_submission_whose_job_got_lost_is_picked_up(pick_ups):
    make_submission()
    enqueue_errands(now())
    assert pick_ups() == 1


def test_a_submission_in_the_hands_of_a_job_is_left_alone(pick_ups):
    make_submission(lease_until=now() + timedelta(seconds=20))
    enqueue_errands(now())
    assert pick_ups() == 0


def test_a_submission_is_settled_when_its_task_has_ended(pick_ups):
    submission = make_submission(state=State.PROCESSING, answered_at=now())
    enqueue_errands(now())
    assert pick_ups() == 0
    make_task(submission.source, submission=submission, state=State.COMPLETED)
    enqueue_errands(now())
    assert pick_ups() == 1


def test_entries_that_the_syslog_server_lacks_are_shipped(pick_ups, settings):
    record(Action.LOGIN, actor=None)
    enqueue_errands(now())
    assert pick_ups() == 0
    settings.AUDIT_SYSLOG_URL = "syslog+tls://127.0.0.1:1"
    enqueue_errands(now())
    assert pick_ups() == 1
    AuditMark.objects.create(name="shipped", number=1)
    enqueue_errands(now())
    assert pick_ups() == 1


def test_a_cancel_that_waits_is_picked_up(pick_ups):
    make_task(cancel_requested_at=now())
    enqueue_errands(now())
    assert pick_ups() == 1


def test_a_cancel_of_a_paused_source_waits(pick_ups):
    make_task(make_source(paused_at=now()), cancel_requested_at=now())
    enqueue_errands(now())
    assert pick_ups() == 0


@pytest.mark.parametrize(
    ("stage", "order", "jobs"),
    [
        ("queued", {}, 1),
        ("clone", {}, 1),
        ("address", {}, 1),
        ("ready", {}, 0),
        ("failed", {}, 0),
        ("approval", {"decision": "waiting"}, 0),
        ("queued", {"paused_at": now()}, 0),
    ],
)
def test_machines_in_the_making_are_moved_on(pick_ups, stage, order, jobs):
    make_machine(make_order(**order), stage=stage)
    enqueue_errands(now())
    assert pick_ups() == jobs


def test_machines_of_a_paused_source_wait(pick_ups):
    for stage in ("queued", "clone", "address"):
        make_machine(make_order(source=make_source(paused_at=now())), stage=stage)
    enqueue_errands(now())
    assert pick_ups() == 0


def test_the_end_of_a_machines_task_moves_it_on_at_once(pick_ups):
    machine = make_machine(stage="clone")
    submission = make_submission(machine=machine, state=State.PROCESSING, answered_at=now())
    make_task(submission.source, submission=submission)
    enqueue_follow_up(submission.source)
    assert pick_ups() == 0
    make_task(submission.source, submission=submission, state=State.COMPLETED)
    enqueue_follow_up(submission.source)
    assert pick_ups() == 1


def enqueued():
    """The names of the jobs in the queue, and their arguments."""
    jobs = []
    while tasks := get_broker().dequeue():
        for ack_id, payload in tasks:
            task = SignedPackage.loads(payload)
            jobs.append((str(task["func"]).rpartition(".")[2], *task["args"]))
            get_broker().acknowledge(ack_id)
    return jobs


@pytest.fixture(autouse=True)
def nothing_enqueued_before():
    errands._sent.clear()
    get_broker().purge_queue()


def test_an_order_in_the_queue_is_dispatched():
    make_generation()
    enqueue_errands(now())
    assert enqueued() == [("dispatch",)]


def test_a_call_without_an_answer_is_looked_into_when_it_is_due():
    row = make_generation(called_at=now(), next_attempt_at=now() + timedelta(seconds=10))
    enqueue_errands(now())
    assert enqueued() == []
    enqueue_errands(row.next_attempt_at)
    assert enqueued() == [("dispatch",)]


def test_a_waiting_result_is_copied_and_a_job_that_nobody_took_is_repeated_later():
    asset, at = make_asset(), now()
    for seconds in (0, 3, 6, 29):
        enqueue_errands(at + timedelta(seconds=seconds))
    assert enqueued() == [("copy_result", asset.pk)]
    enqueue_errands(at + timedelta(seconds=31))
    assert enqueued() == [("copy_result", asset.pk)]


def test_copies_do_not_fill_the_queue():
    row = make_generation(state=State.COMPLETED)
    for _ in range(30):
        make_asset(row)
    for _ in range(5):
        enqueue_errands(now())
    assert len(enqueued()) == COPIES_AT_ONCE


@pytest.mark.parametrize(
    "then",
    [{"state": Asset.State.COPIED}, {"next_attempt_at": now() + timedelta(hours=1)}],
    ids=["copied", "put off"],
)
def test_what_was_copied_or_put_off_makes_room_for_the_next_at_once(then):
    row = make_generation(state=State.COMPLETED)
    pks = [make_asset(row).pk for _ in range(COPIES_AT_ONCE + 1)]
    enqueue_errands(now())
    assert enqueued() == [("copy_result", pk) for pk in pks[:-1]]
    Asset.objects.filter(pk=pks[0]).update(**then)
    enqueue_errands(now())
    assert enqueued() == [("copy_result", pks[-1])]


def test_a_copy_under_way_takes_a_place():
    row = make_generation(state=State.COMPLETED)
    for _ in range(COPIES_AT_ONCE):
        make_asset(row, lease_until=now() + timedelta(seconds=30))
    make_asset(row)
    enqueue_errands(now())
    assert enqueued() == []


def test_a_copy_under_way_is_left_alone():
    make_asset(lease_until=now() + timedelta(seconds=30))
    enqueue_errands(now())
    assert enqueued() == []


def test_an_order_past_its_own_deadline_is_picked_up_once_it_is():
    at = now()
    make_generation(state=State.PROCESSING, cancel_at=at)
    enqueue_errands(at - timedelta(seconds=1))
    assert enqueued() == []
    enqueue_errands(at)
    assert enqueued() == [("pick_up",)]


def test_the_end_of_a_task_frees_its_place_and_fetches_its_results_at_once():
    source = make_generation_source()
    asset = make_asset(make_generation(source, state=State.COMPLETED))
    make_asset()  # of another source
    make_generation(source)
    enqueue_generation_follow_up(source, now())
    assert enqueued() == [("dispatch",), ("copy_result", asset.pk)]
