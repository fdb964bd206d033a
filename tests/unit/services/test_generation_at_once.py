"""Videos and images in several threads at the same moment: one task per key, no limit passed, sent once."""

import threading
from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import Generation, Role, Task
from tasks_app.services.cancellation import cancel_task
from tasks_app.services.generation_cancellation import cancel_overdue, deliver_generation_cancel
from tasks_app.services.generation_delivery import deliver_generation
from tasks_app.services.generation_queue import dispatch, hold_back
from tasks_app.services.generations import submit_generation
from tasks_app.services.quotas import QuotaExceeded
from tasks_app.sources.errors import OutcomeUnknown, SourceUnavailable
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source, make_team, make_user
from tests.unit.services.fake_provider import FakeGeneration
from tests.unit.services.test_at_once import THREADS, at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def provider(monkeypatch):
    fake = FakeGeneration()
    monkeypatch.setattr(connections, "generation_client_of", lambda source: fake)
    return fake


def submit(source, actor, key, team=None):
    return submit_generation(
        source,
        actor=actor,
        offer="clip",
        parameters={"prompt": "A red fox"},
        uploads={},
        team=team,
        idempotency_key=key,
    )


@pytest.mark.parametrize("has_team", [False, True], ids=["alone", "team"])
def test_one_key_makes_one_task(provider, audited, queued, has_team):
    source, actor = make_generation_source(), make_user(Role.OPERATOR)
    team = make_team(actor, max_generations=1) if has_team else None
    results = at_once(lambda _: submit(source, actor, "k", team).pk)
    assert set(results) == {Task.objects.get().pk}
    assert audited() == ["generation.submit"]
    assert queued() == [("dispatch", ())]


def test_a_team_never_has_more_open_than_it_may(provider):
    source, actor = make_generation_source(), make_user(Role.OPERATOR)
    team = make_team(actor, max_generations=3)
    results = at_once(lambda number: submit(source, actor, str(number), team))
    assert sum(isinstance(result, QuotaExceeded) for result in results) == THREADS - 3
    assert Generation.objects.filter(team=team).count() == 3


def test_parallel_dispatches_give_no_more_places_than_there_are(settings):
    settings.MAX_CONCURRENT_TASKS, settings.VIDEO_MAX_CONCURRENT = 6, 4
    source = make_generation_source(settings={"limits": {"total": 5}})
    for _ in range(10):
        make_generation(source)
        make_generation(source, kind="image")
    results = at_once(lambda _: dispatch())
    started = [pk for result in results for pk in result]
    assert len(started) == len(set(started)) == 5
    kinds = list(Generation.objects.filter(pk__in=started).values_list("kind", flat=True))
    assert kinds.count("video") <= 4
    assert kinds.count("image") <= 3


def test_the_limit_holds_while_many_dispatch_send_and_end(provider, settings):
    """Each thread is a worker: dispatch, send what got a place, let one end. The provider counts."""
    settings.VIDEO_MAX_CONCURRENT = 2
    sources = [make_generation_source(next_pass_at=now() + timedelta(hours=1)) for _ in range(2)]
    for number in range(24):
        make_generation(sources[number % 2], offer="clip")
    lock, most, sent = threading.Lock(), [], []

    def count():
        # `called_at` is there before the call, so what the table says is at the provider includes this one
        at_work = Generation.objects.at_remote().count()
        with lock:
            most.append(at_work)

    provider.before_answer = count

    def work(_):
        for _ in range(40):
            for pk in dispatch():
                deliver_generation(pk)
                sent.append(pk)
                Task.objects.filter(pk=pk).update(state=State.COMPLETED)
            if not Generation.objects.held().exists():
                return

    assert at_once(work) == [None] * THREADS
    assert len(sent) == len(set(sent)) == 24
    assert provider.count("submit") == 24
    assert max(most) <= 2


def test_one_place_is_used_by_one_job(provider):
    row = make_generation(offer="clip")
    assert dispatch() == [row.pk]
    assert at_once(lambda _: deliver_generation(row.pk)) == [None] * THREADS
    assert provider.count("submit") == 1


def test_a_lost_answer_is_looked_for_by_one_job(provider):
    row = make_generation(offer="clip")
    dispatch()
    provider.fails["answer"] = [OutcomeUnknown("lost", kind="timeout")]
    deliver_generation(row.pk)
    Generation.objects.update(called_at=row.asked_at, next_attempt_at=row.asked_at)
    at_once(lambda _: deliver_generation(row.pk))
    assert provider.count("find") == 1
    assert provider.count("submit") == 1
    assert Generation.objects.get().answered_at is not None


@pytest.mark.parametrize("round", range(4))
def test_sending_and_withdrawing_at_once_is_one_or_the_other(provider, round):
    row = make_generation(offer="clip")
    dispatch()

    def deed(number):
        if number % 2:
            cancel_task(Task.objects.get(pk=row.pk), actor=row.actor)
        else:
            deliver_generation(row.pk)

    results = at_once(deed)
    after = Generation.objects.select_related("task").get()
    if provider.count("submit"):
        assert after.answered_at is not None
        assert after.task.is_cancelling
        assert results == [None] * THREADS
    else:
        assert after.called_at is None
        assert after.task.state == State.CANCELLED


def test_one_task_is_asked_once_to_stop(provider, audited):
    row = make_generation(state=State.PROCESSING)
    provider.show(row.task.remote_id, State.PROCESSING)
    assert at_once(lambda _: cancel_task(Task.objects.get(pk=row.pk), actor=row.actor)) == [None] * THREADS
    assert audited() == ["task.cancel"]
    at_once(lambda _: deliver_generation_cancel(Task.objects.get(pk=row.pk)))
    assert provider.count("cancel") == 1


def test_a_deadline_is_noticed_once(audited):
    make_generation(cancel_at=now())
    make_generation(cancel_at=now(), state=State.PROCESSING)
    assert at_once(lambda _: cancel_overdue()) == [None] * THREADS
    assert audited() == ["task.cancel"] * 2


def test_holding_back_and_dispatching_lock_each_other_out_in_one_order(settings):
    """Many rows are written by both; in two orders PostgreSQL would end one of them as a deadlock."""
    settings.MAX_CONCURRENT_TASKS = settings.VIDEO_MAX_CONCURRENT = 50
    sources = [make_generation_source() for _ in range(3)]
    for number in range(30):
        make_generation(sources[number % 3])

    def deed(number):
        if number % 2:
            dispatch()
        else:
            hold_back(sources[number % 3].pk, until=now(), reason="Wait.")

    assert at_once(deed) == [None] * THREADS


def test_a_provider_that_asks_to_wait_in_every_thread_loses_nothing(provider, settings):
    settings.MAX_CONCURRENT_TASKS = settings.VIDEO_MAX_CONCURRENT = THREADS
    source = make_generation_source()
    for _ in range(THREADS):
        make_generation(source, offer="clip")
    started = dispatch()
    provider.fails["submit"] = [SourceUnavailable("later", kind="rate_limited") for _ in range(THREADS)]
    assert at_once(lambda number: deliver_generation(started[number])) == [None] * THREADS
    assert Generation.objects.held().count() == THREADS
    Generation.objects.update(next_attempt_at=now())
    started = dispatch()
    at_once(lambda number: deliver_generation(started[number]))
    assert Generation.objects.filter(answered_at__isnull=False).count() == THREADS
