"""Sending once: refusals, waiting, lost answers, killed workers."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.ingest.generations import discover
from tasks_app.models import Generation, Source, Task, TaskEvent
from tasks_app.services import generation_delivery as delivery
from tasks_app.services.cancellation import cancel_task
from tasks_app.services.generation_queue import dispatch, holds_of
from tasks_app.services.reconciliation import ABSENCE_SECONDS
from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source
from tests.unit.services.fake_provider import FakeGeneration

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return FakeGeneration()


@pytest.fixture
def row():
    return make_generation(offer="clip")


def send(row, provider):
    """Give it a place and run its job; the row as it is afterwards."""
    assert row.pk in dispatch()
    return deliver(row, provider)


def deliver(row, provider):
    delivery.deliver_generation(row.pk, client=provider)
    return Generation.objects.select_related("task__source").get(pk=row.pk)


def lose(row, provider, *, minutes=10):
    """Send it and lose the answer; then make it due. The provider has the order."""
    provider.fails["answer"] = [OutcomeUnknown("The answer got lost.", kind="timeout")]
    send(row, provider)
    return age(row, minutes=minutes)


def age(row, *, minutes):
    called_at = now() - timedelta(minutes=minutes)
    Generation.objects.filter(pk=row.pk).update(called_at=called_at, next_attempt_at=called_at)
    return row


# --- sending


def test_the_intent_is_written_before_the_call_and_the_answer_after_it(row, provider):
    seen = []
    provider.before_answer = lambda: seen.append(Generation.objects.get(pk=row.pk))
    after = send(row, provider)
    assert seen[0].called_at is not None
    assert seen[0].answered_at is None
    assert seen[0].lease_until > now()
    assert (after.task.remote_id, after.handle) == ("vid_000001", {"id": "vid_000001"})
    assert after.answered_at is not None
    assert after.lease_until is None
    assert after.ask_at is not None


def test_the_order_is_as_it_was_asked_for(row, provider):
    send(row, provider)
    order = provider.orders["vid_000001"]
    assert (order.offer, order.parameters) == ("clip", row.parameters)
    assert (order.own_id, order.idempotency_key) == (row.own_id, row.own_id)


def test_a_job_without_a_place_sends_nothing(row, provider):
    deliver(row, provider)
    assert provider.count("submit") == 0


def test_a_job_whose_place_has_gone_sends_nothing(row, provider):
    dispatch()
    Generation.objects.update(lease_until=now() - timedelta(seconds=1))
    deliver(row, provider)
    assert provider.count("submit") == 0


def test_running_it_again_sends_nothing(row, provider):
    send(row, provider)
    deliver(row, provider)
    assert provider.count("submit") == 1


def test_what_is_withdrawn_after_it_got_its_place_is_not_sent(row, provider):
    dispatch()
    cancel_task(row.task, actor=row.actor)
    deliver(row, provider)
    assert provider.count("submit") == 0


def test_a_source_that_was_paused_after_it_got_its_place_gets_nothing(row, provider):
    dispatch()
    Source.objects.update(paused_at=now())
    after = deliver(row, provider)
    assert provider.count("submit") == 0
    assert after.is_held
    assert after.lease_until is None
    assert "paused" in after.hold_reason


def test_a_task_of_others_is_never_sent(provider):
    row = make_generation(actor=None, lease_until=now() + timedelta(minutes=1))
    deliver(row, provider)
    assert provider.calls == []


# --- refused


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SourceRefused("seconds: must be below 10", kind="invalid_request", status=422), "invalid_request"),
        (SourceRefused("Violates our content policy", kind="invalid_request", status=400), "content_policy"),
        (SourceRefused("moderation said no", kind="content_policy", status=403), "content_policy"),
        (SourceRefused("Payment needed", kind="no_credit", status=402), "no_credit"),
        (SourceRefused("No such model", kind="not_found", status=404), "invalid_request"),
        (SourceRefused("Strange", kind="invalid_request", status=418), "invalid_request"),
    ],
    ids=["invalid", "policy by words", "policy by kind", "credit", "model", "other"],
)
def test_a_refusal_ends_it_with_its_kind(
    row, provider, queued, error, kind, django_capture_on_commit_callbacks
):
    provider.fails["submit"] = [error]
    with django_capture_on_commit_callbacks(execute=True):
        after = send(row, provider)
    assert (after.task.state, after.problem_kind) == (State.FAILED, kind)
    assert str(error) in after.task.error_line
    assert ("dispatch", ()) in queued()[1:]


def test_the_fields_of_a_refusal_are_told(row, provider):
    provider.fails["submit"] = [
        SourceRefused("Wrong.", kind="invalid_request", status=422, fields={"size": "too large"})
    ]
    assert "size: too large" in send(row, provider).task.error_line


def test_an_upload_that_is_gone_ends_it(row, provider):
    row.uploads.create(
        parameter="first_image",
        name="cat.png",
        media_type="image/png",
        size=1,
        sha256="x",
        file="uploads/none",
    )
    after = send(row, provider)
    assert (after.task.state, after.problem_kind) == (State.FAILED, "invalid_request")
    assert "cat.png" in after.task.error_line
    assert provider.count("submit") == 0


# --- certainly nothing made


@pytest.mark.parametrize("kind", ["rate_limited", "refused", "dns", "timeout", "connection"])
def test_what_was_certainly_not_taken_waits_here_again(row, provider, kind):
    provider.fails["submit"] = [SourceUnavailable("later", kind=kind)]
    after = send(row, provider)
    assert after.is_held
    assert after.lease_until is None
    assert after.next_attempt_at > now() + timedelta(seconds=3)
    assert "Waiting for the provider" in after.hold_reason
    assert TaskEvent.objects.filter(task_id=row.pk, kind="state").exists()
    Generation.objects.update(next_attempt_at=now())
    assert send(row, provider).answered_at is not None


def test_the_provider_says_when_to_come_again(row, provider):
    provider.fails["submit"] = [SourceUnavailable("later", kind="rate_limited", retry_after=200.0)]
    wait = (send(row, provider).next_attempt_at - now()).total_seconds()
    assert 199 < wait < 241


def test_pauses_grow_up_to_two_minutes_with_jitter():
    for attempts, doubled in ((1, 5), (2, 10), (4, 40), (9, 120), (30000, 120)):
        pauses = [delivery.back_off(attempts) for _ in range(50)]
        assert all(doubled * 0.8 <= pause <= doubled * 1.2 for pause in pauses)
        assert len(set(pauses)) > 1


def test_the_others_of_that_source_wait_too_and_those_of_another_do_not(row, provider):
    neighbour, elsewhere = make_generation(row.task.source), make_generation()
    provider.fails["submit"] = [SourceUnavailable("later", kind="rate_limited", retry_after=60.0)]
    delivery.deliver_generation(dispatch()[0], client=provider)
    assert holds_of(row.task.source) == [(delivery.ASKS_TO_WAIT, 2)]
    neighbour.refresh_from_db()
    elsewhere.refresh_from_db()
    assert neighbour.next_attempt_at > now() + timedelta(seconds=30)
    assert elsewhere.next_attempt_at < now()


def test_a_cancel_that_came_during_the_call_withdraws_what_was_not_taken(row, provider):
    def cancel_and_fail():
        cancel_task(row.task, actor=row.actor)
        raise SourceUnavailable("later", kind="rate_limited")

    provider.before_answer = cancel_and_fail
    after = send(row, provider)
    assert after.task.state == State.CANCELLED
    assert "withdrawn" in after.task.cancel_note


def test_a_cancel_that_came_during_the_call_is_delivered_once_it_is_answered(row, provider, queued):
    provider.before_answer = lambda: cancel_task(row.task, actor=row.actor)
    after = send(row, provider)
    assert after.task.is_cancelling
    assert ("cancel", (row.pk,)) in queued()


@pytest.mark.parametrize("kind", ["garbage", "server_error", "too_large", "proxy", ""])
def test_any_other_failure_may_have_made_something(row, provider, kind):
    provider.fails["submit"] = [SourceUnavailable("?", kind=kind)]
    after = send(row, provider)
    assert after.called_at is not None
    assert after.answered_at is None


# --- a person must look


@pytest.mark.parametrize(
    ("kind", "words"),
    [("unauthorized", "refuses the portal's key"), ("certificate", "certificate"), ("redirect", "must look")],
    ids=["key", "certificate", "other"],
)
def test_what_needs_a_person_is_held_and_staff_are_told(row, provider, kind, words):
    provider.fails["submit"] = [SourceNeedsPerson("secret detail", kind=kind)]
    after = send(row, provider)
    assert after.is_held
    assert words in after.hold_reason
    assert "secret" not in after.hold_reason
    assert after.problem_detail == "secret detail"
    assert holds_of(row.task.source) == [(after.hold_reason, 1)]
    assert after.next_attempt_at > now() + timedelta(minutes=4)


@pytest.mark.parametrize(
    "error", [SourceNeedsPerson("x", kind="key_changed"), ValueError("bad settings")], ids=["key", "settings"]
)
def test_a_source_that_cannot_be_opened_holds_it(row, monkeypatch, error):
    def fail(source):
        raise error

    monkeypatch.setattr(connections, "generation_client_of", fail)
    after = send(row, None)
    assert after.is_held
    assert "Waiting for an admin" in after.hold_reason


# --- nobody knows


def test_a_lost_answer_is_found_and_never_sent_again(row, provider):
    lose(row, provider)
    after = deliver(row, provider)
    assert after.task.remote_id == "vid_000001"
    assert after.handle == {"id": "vid_000001"}
    assert after.hold_reason == ""
    assert provider.count("submit") == 1


def test_a_lost_answer_is_said_while_it_is_looked_for(row, provider):
    provider.fails["answer"] = [OutcomeUnknown("lost", kind="timeout")]
    after = send(row, provider)
    assert after.hold_reason == delivery.UNANSWERED
    assert after.next_attempt_at > now()
    assert after.lease_until is None


def test_a_row_that_a_list_call_made_meanwhile_becomes_this_one(row, provider):
    lose(row, provider)
    discover(row.task.source, list(provider.tasks.values()), at=now())
    assert Task.objects.count() == 2
    after = deliver(row, provider)
    assert after.task.remote_id == "vid_000001"
    assert Task.objects.count() == 1


def test_what_belongs_to_others_is_told_to_the_search(row, provider):
    source = row.task.source
    answered = make_generation(source, is_sent=True)
    before = make_generation(source, actor=None, task={"seen_at": now() - timedelta(hours=1)})
    make_generation(source, actor=None)  # appeared after the call: it may be this one
    make_generation(source, is_sent=True, answered_at=None)
    make_generation(is_sent=True)
    Generation.objects.filter(pk=row.pk).update(lease_until=now() + timedelta(minutes=1))
    provider.fails["answer"] = [OutcomeUnknown("lost", kind="timeout")]
    deliver(row, provider)
    deliver(age(row, minutes=10), provider)
    assert provider.known == {answered.task.remote_id, before.task.remote_id}


@pytest.mark.parametrize(
    ("told", "is_taken"),
    [({}, False), ({"input": {"prompt": "Another"}}, False), ({"input": {"prompt": "Mine"}}, True)],
    ids=["no input", "other input", "own input"],
)
@pytest.mark.parametrize("state", [State.PENDING, State.LOST])
def test_one_task_for_two_lost_answers_is_given_to_neither_by_guess(provider, told, is_taken, state):
    source = make_generation_source()
    row = make_generation(source, offer="clip", prompt="Mine")
    lose(row, provider)
    provider.show("vid_000001", State.PROCESSING, **told)
    make_generation(
        source,
        is_sent=True,
        state=state,
        answered_at=None,
        called_at=now() - timedelta(minutes=10, seconds=20),
    )
    after = deliver(row, provider)
    assert (after.answered_at is not None) is is_taken
    assert after.task.state == (State.PROCESSING if is_taken else State.LOST)


def test_a_lost_answer_of_another_hour_and_a_refused_order_are_no_rivals(row, provider):
    lose(row, provider)
    fields = {"is_sent": True, "answered_at": None}
    make_generation(row.task.source, called_at=now() - timedelta(minutes=20), **fields)
    make_generation(row.task.source, called_at=now() - timedelta(minutes=10), state=State.FAILED, **fields)
    assert deliver(row, provider).answered_at is not None


def test_nothing_is_sent_again_before_the_first_call_must_have_ended(row, provider):
    """The worker was killed between noting and calling, or right after: an absent task proves nothing yet."""
    dispatch()
    at = now()
    Generation.objects.filter(pk=row.pk).update(
        called_at=at - timedelta(seconds=ABSENCE_SECONDS - 5),
        lease_until=at - timedelta(seconds=1),
        attempts=1,
    )
    after = deliver(row, provider)
    assert after.called_at is not None
    assert after.next_attempt_at > at
    deliver(age(row, minutes=2), provider)
    after = deliver(row, provider)
    assert after.answered_at is not None
    assert provider.count("submit") == 1


@pytest.mark.parametrize("capability", ["own_id", "idempotency_key"])
@pytest.mark.parametrize("is_unclear", [False, True], ids=["absent", "no proof"])
def test_under_an_id_of_ours_it_is_repeated_at_once(row, capability, is_unclear):
    provider = FakeGeneration(**{capability: True})
    dispatch()
    Generation.objects.filter(pk=row.pk).update(
        called_at=now(), lease_until=now() - timedelta(seconds=1), attempts=1
    )
    if is_unclear:
        provider.fails["find"] = [OutcomeUnknown("?")]
    deliver(row, provider)
    assert deliver(row, provider).answered_at is not None
    assert [call[0] for call in provider.calls] == ["find", "submit"]


def test_a_provider_that_never_says_what_came_of_it_is_not_called_for_ever(row, provider):
    """It answers 500 to every order and makes nothing: the place must not stay taken, and a person should know."""
    error = OutcomeUnknown("The source answered 500.", kind="server_error")
    provider.fails["submit"] = [error] * 99
    send(row, provider)
    for _ in range(2 * delivery.MOST_LOST_CALLS):
        after = deliver(age(row, minutes=10), provider)
        if after.called_at is not None and after.task.is_final:
            break
        after = deliver(row, provider)
    assert (after.task.state, after.problem_kind) == (State.FAILED, "provider")
    assert "was sent 5 times" in after.task.error_line and "nothing was made" in after.task.error_line
    assert provider.count("submit") == delivery.MOST_LOST_CALLS


def test_calls_that_came_to_nothing_are_forgotten_once_it_is_taken(row, provider):
    provider.fails["submit"] = [OutcomeUnknown("?", kind="server_error")]
    send(row, provider)
    assert deliver(age(row, minutes=10), provider).bad_answers == 1
    after = deliver(row, provider)
    assert (after.answered_at is not None, after.bad_answers) == (True, 0)


def test_a_second_job_leaves_a_living_one_alone(row, provider):
    dispatch()
    Generation.objects.filter(pk=row.pk).update(
        called_at=now() - timedelta(minutes=5), lease_until=now() + timedelta(seconds=5)
    )
    deliver(row, provider)
    assert provider.calls == []


def test_without_any_proof_it_ends_as_unknown(row, provider):
    lose(row, provider)
    provider.fails["find"] = [OutcomeUnknown("This dialect has no list.")]
    after = deliver(row, provider)
    assert (after.task.state, after.problem_kind) == (State.LOST, "outcome_unknown")
    assert "it may have been made, and paid for" in after.task.error_line
    assert after.problem_detail == "This dialect has no list."
    assert provider.count("submit") == 1


def test_without_any_proof_it_is_looked_for_until_it_must_be_there(row, provider):
    lose(row, provider, minutes=0)
    provider.fails["find"] = [OutcomeUnknown("Not yet listed.")]
    assert deliver(row, provider).task.state == State.PENDING


@pytest.mark.parametrize(
    "error",
    [SourceUnavailable("down", kind="refused"), SourceNeedsPerson("key", kind="unauthorized")],
    ids=["down", "key"],
)
def test_a_provider_that_does_not_answer_is_asked_for_a_day(row, provider, error):
    lose(row, provider, minutes=23 * 60)
    provider.fails["find"] = [error, error]
    after = deliver(row, provider)
    assert after.task.state == State.PENDING
    assert after.next_attempt_at > now()
    after = deliver(age(row, minutes=25 * 60), provider)
    assert after.task.state == State.LOST
    assert provider.count("submit") == 1


def test_a_paused_source_is_not_asked_what_became_of_it(row, provider):
    lose(row, provider)
    Source.objects.update(paused_at=now())
    deliver(row, provider)
    assert provider.count("find") == 0


def test_a_fault_of_the_adapter_is_a_lost_answer(row, provider):
    provider.fails["answer"] = [KeyError("id")]
    after = send(row, provider)
    assert after.called_at is not None
    assert deliver(age(row, minutes=10), provider).task.remote_id == "vid_000001"


def test_an_answer_that_names_no_task_is_a_lost_answer(row, provider, monkeypatch):
    accepted = provider.submit
    monkeypatch.setattr(provider, "submit", lambda order: nameless(accepted(order)))

    def nameless(answer):
        return type(answer)(type(answer.observation)("", State.PENDING), {})

    assert send(row, provider).answered_at is None


def test_a_cancel_while_nobody_knows_ends_it_when_nothing_was_made(row, provider):
    provider.fails["submit"] = [OutcomeUnknown("lost", kind="timeout")]
    send(row, provider)
    cancel_task(row.task, actor=row.actor)
    deliver(age(row, minutes=10), provider)
    after = deliver(row, provider)
    assert after.task.state == State.CANCELLED
    assert provider.count("submit") == 1


def test_an_old_worker_that_comes_back_takes_nothing_from_the_new_one(row, provider):
    """It hung in its call until others had found the order absent and sent it again."""
    other = FakeGeneration()

    def hang():
        Generation.objects.filter(pk=row.pk).update(lease_until=now() - timedelta(seconds=1))
        deliver(age(row, minutes=10), other)
        deliver(row, other)
        raise SourceUnavailable("late", kind="refused")

    provider.before_answer = hang
    after = send(row, provider)
    assert other.count("submit") == 1
    assert after.answered_at is not None
    assert after.hold_reason == ""


def test_a_settings_error_while_looking_is_no_end(row, provider, monkeypatch):
    lose(row, provider)

    def fail(source):
        raise ValueError("bad settings")

    monkeypatch.setattr(connections, "generation_client_of", fail)
    assert deliver(row, None).task.state == State.PENDING


def test_a_generation_that_does_not_exist_is_no_error(provider):
    delivery.deliver_generation(4711, client=provider)
    make_generation_source()
    assert provider.calls == []
