"""Cancelling videos and images: withdrawn here, or read first and then asked to stop; deadlines."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import NotPermitted, SourcePaused, TaskAlreadyFinished
from tasks_app.models import AuditEntry, Generation, Role, Source, Task
from tasks_app.services import generation_cancellation as cancellation
from tasks_app.services.cancellation import cancel_task, deliver_cancel, pick_up_cancels
from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import CancelAnswer, Problem
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source, make_team, make_user
from tests.unit.services.fake_provider import FakeGeneration

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return FakeGeneration()


def make_running(provider, state=State.PROCESSING, **fields):
    """A task that runs there; somebody has asked to stop it."""
    row = make_generation(state=State.PROCESSING, **fields)
    provider.show(row.task.remote_id, state)
    cancel_task(row.task, actor=row.actor)
    return row


def deliver(row, provider):
    cancellation.deliver_generation_cancel(Task.objects.get(pk=row.pk), client=provider)
    return Task.objects.get(pk=row.pk)


def let_the_claim_run_out(row):
    Task.objects.filter(pk=row.pk).update(cancel_delivered_at=now() - timedelta(minutes=5))


# --- asking


@pytest.mark.parametrize(
    "source",
    [{}, {"paused_at": now()}, {"failing_since": now()}],
    ids=["well", "paused", "down"],
)
def test_what_waits_here_is_withdrawn_without_a_call(source, audited, queued):
    row = make_generation(make_generation_source(**source), next_attempt_at=now() + timedelta(hours=1))
    cancel_task(row.task, actor=row.actor, reason=" Not needed ")
    task = Task.objects.get()
    assert task.state == State.CANCELLED
    assert task.cancel_note == cancellation.WITHDRAWN
    assert task.cancel_requested_by == row.actor
    assert task.ended_at is not None
    assert audited() == ["task.cancel"]
    assert AuditEntry.objects.get().data | {"remote_id": ""} == {
        "reason": "Not needed",
        "remote_id": "",
        "was_sent": False,
    }
    assert queued() == []


def test_what_was_sent_is_a_wish(audited, queued, django_capture_on_commit_callbacks):
    row = make_generation(state=State.PROCESSING)
    with django_capture_on_commit_callbacks(execute=True):
        cancel_task(row.task, actor=row.actor)
        cancel_task(row.task, actor=row.actor)
    task = Task.objects.get()
    assert task.is_cancelling
    assert audited() == ["task.cancel"]
    assert queued() == [("cancel", (row.pk,))]


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED, State.LOST])
def test_a_finished_one_cannot_be_cancelled(state, audited):
    row = make_generation(state=state)
    with pytest.raises(TaskAlreadyFinished, match="cannot be cancelled"):
        cancel_task(row.task, actor=row.actor)
    assert audited() == []


def test_nothing_is_sent_to_a_paused_source():
    row = make_generation(make_generation_source(paused_at=now()), state=State.PROCESSING)
    with pytest.raises(SourcePaused):
        cancel_task(row.task, actor=row.actor)


def test_a_task_of_others_at_the_provider_is_never_withdrawn_here():
    row = make_generation(actor=None)
    cancel_task(row.task, actor=make_user(Role.OPERATOR))
    assert Task.objects.get().is_cancelling


def test_who_may():
    member, leader, stranger = make_user(), make_user(), make_user()
    team = make_team(member, admins=(leader,))
    other_member = make_user()
    team.group.user_set.add(other_member)
    for actor in (member, leader, make_user(Role.OPERATOR)):
        row = make_generation(actor=member, team=team)
        cancel_task(row.task, actor=actor)
        assert Task.objects.get(pk=row.pk).state == State.CANCELLED
    row = make_generation(actor=member, team=team)
    for actor in (stranger, other_member, make_user(Role.VIEWER)):
        with pytest.raises(NotPermitted):
            cancel_task(row.task, actor=actor)


# --- delivering


def test_a_running_one_is_read_and_then_asked_to_stop(provider):
    task = deliver(make_running(provider), provider)
    assert [call[0] for call in provider.calls] == ["fetch", "cancel"]
    assert task.is_cancelling
    assert task.cancel_error == ""


def test_the_wish_is_repeated_later_and_not_at_once(provider):
    row = make_running(provider)
    deliver(row, provider)
    deliver(row, provider)
    assert provider.count("cancel") == 1
    let_the_claim_run_out(row)
    deliver(row, provider)
    assert provider.count("cancel") == 2


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (State.COMPLETED, "It finished before the cancel arrived."),
        (State.FAILED, "It had ended by itself before the cancel arrived."),
        (State.CANCELLED, "The provider stopped it."),
    ],
)
def test_nothing_is_sent_to_a_finished_one(provider, state, note):
    row = make_running(provider)
    provider.show(row.task.remote_id, state, problem=Problem("provider", "boom"))
    task = deliver(row, provider)
    assert provider.count("cancel") == 0
    assert (task.state, task.cancel_note) == (state, note)
    assert not Task.objects.cancels_waiting().exists()


def test_one_that_finished_between_read_and_cancel_is_left_to_the_poller(provider):
    row = make_running(provider)
    provider.cancel_answer = CancelAnswer.ALREADY_FINISHED
    assert deliver(row, provider).is_cancelling
    provider.show(row.task.remote_id, State.COMPLETED)
    let_the_claim_run_out(row)
    task = deliver(row, provider)
    assert (task.state, task.cancel_note) == (State.COMPLETED, "It finished before the cancel arrived.")
    assert provider.count("cancel") == 1


def test_a_provider_that_cannot_says_so_and_the_wish_is_taken_back(provider):
    row = make_running(provider)
    provider.cancel_answer = CancelAnswer.UNSUPPORTED
    task = deliver(row, provider)
    assert task.cancel_requested_at is None
    assert "cannot stop" in task.cancel_error
    assert task.state == State.PROCESSING


def test_a_refusal_is_told_and_the_wish_is_taken_back(provider):
    row = make_running(provider)
    provider.fails["cancel"] = [SourceRefused("Not yours.", kind="forbidden", status=400)]
    task = deliver(row, provider)
    assert task.cancel_requested_at is None
    assert task.cancel_error == "The provider refused: Not yours."


def test_one_that_vanishes_with_the_cancel_is_cancelled(provider):
    row = make_running(provider)
    provider.cancel_answer = CancelAnswer.NOT_FOUND
    assert deliver(row, provider).state == State.CANCELLED


def test_one_that_is_unknown_after_our_cancel_is_cancelled(provider):
    row = make_running(provider)
    deliver(row, provider)
    provider.tasks.clear()
    let_the_claim_run_out(row)
    assert deliver(row, provider).state == State.CANCELLED


def test_one_that_is_unknown_before_our_cancel_is_missing_and_not_cancelled(provider):
    row = make_running(provider)
    provider.tasks.clear()
    task = deliver(row, provider)
    assert task.state == State.PROCESSING
    assert task.missing_count == 1
    assert "does not know" in task.cancel_error
    assert provider.count("cancel") == 0


@pytest.mark.parametrize("method", ["fetch", "cancel"])
@pytest.mark.parametrize(
    "error",
    [
        SourceUnavailable("Down.", kind="refused", retry_after=100.0),
        OutcomeUnknown("Down.", kind="timeout", retry_after=100.0),
    ],
    ids=["down", "lost"],
)
def test_a_provider_that_does_not_answer_is_asked_again_when_it_says(provider, method, error):
    row = make_running(provider)
    provider.fails[method] = [error]
    task = deliver(row, provider)
    assert task.is_cancelling
    assert task.cancel_error == "Down. The portal tries again."
    calls = len(provider.calls)
    deliver(row, provider)
    assert len(provider.calls) == calls
    assert task.cancel_delivered_at > now() + timedelta(seconds=80)
    let_the_claim_run_out(row)
    assert deliver(row, provider).cancel_error == ""


def test_words_about_the_key_are_for_staff(provider):
    row = make_running(provider)
    provider.fails["fetch"] = [SourceNeedsPerson("401: secret words", kind="unauthorized")]
    assert "secret" not in deliver(row, provider).cancel_error


def test_a_wish_while_nobody_knows_the_answer_waits_for_it(provider):
    row = make_generation(is_sent=True, answered_at=None)
    cancel_task(row.task, actor=row.actor)
    assert deliver(row, provider).is_cancelling
    assert provider.calls == []


def test_a_wish_for_what_came_back_into_the_queue_withdraws_it(provider):
    row = make_generation(task={"cancel_requested_at": now()})
    task = deliver(row, provider)
    assert (task.state, task.cancel_note) == (State.CANCELLED, cancellation.WITHDRAWN)
    assert provider.calls == []


def test_a_paused_source_is_not_asked(provider):
    row = make_running(provider)
    Source.objects.update(paused_at=now())
    deliver(row, provider)
    assert provider.calls == []


def test_the_poller_asks_soon_after_a_cancel(provider):
    row = make_running(provider, ask_at=now() + timedelta(seconds=30))
    Source.objects.update(next_pass_at=now() + timedelta(seconds=30))
    deliver(row, provider)
    row.refresh_from_db()
    assert row.ask_at <= now()
    assert Source.objects.get().next_pass_at <= now()


def test_cancels_are_picked_up_and_delivered_by_the_one_job(provider, monkeypatch, queued):
    row = make_running(provider)
    pick_up_cancels()
    assert queued() == [("cancel", (row.pk,))]
    monkeypatch.setattr("tasks_app.connections.generation_client_of", lambda source: provider)
    deliver_cancel(row.pk)
    assert provider.count("cancel") == 1


# --- deadlines


def test_a_deadline_withdraws_or_asks_once(audited):
    past = now() - timedelta(seconds=1)
    held = make_generation(cancel_at=past)
    sent = make_generation(cancel_at=past, state=State.PROCESSING)
    later = make_generation(cancel_at=now() + timedelta(hours=1))
    ended = make_generation(cancel_at=past, state=State.COMPLETED)
    cancellation.cancel_overdue()
    cancellation.cancel_overdue()
    states = dict(Task.objects.values_list("pk", "state"))
    assert states[held.pk] == State.CANCELLED
    assert states[ended.pk] == State.COMPLETED
    assert Task.objects.get(pk=held.pk).cancel_note == cancellation.PAST_DEADLINE
    assert Task.objects.get(pk=sent.pk).is_cancelling
    assert not Task.objects.get(pk=later.pk).is_cancelling
    assert audited() == ["task.cancel", "task.cancel"]
    assert set(AuditEntry.objects.values_list("actor_name", flat=True)) == {"portal"}


def test_a_deadline_is_not_asked_for_again_where_the_provider_cannot(provider):
    row = make_generation(cancel_at=now(), state=State.PROCESSING)
    provider.show(row.task.remote_id, State.PROCESSING)
    provider.cancel_answer = CancelAnswer.UNSUPPORTED
    cancellation.cancel_overdue()
    deliver(row, provider)
    cancellation.cancel_overdue()
    assert not Task.objects.get().is_cancelling
    assert Generation.objects.get().cancel_at is None
