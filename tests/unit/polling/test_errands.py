"""The watch loop finds what waits for a job."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from django_q.brokers import get_broker

from tasks_app.models import Submission
from tasks_app.polling.errands import enqueue_errands, enqueue_follow_up
from tasks_app.states import State
from tests.factories import make_machine, make_order, make_source, make_task

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
