"""The watch loop and generation sources: what a pass says about the source, and when it comes again."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import Source, TaskEvent
from tasks_app.polling import leases, watch
from tasks_app.polling.memory import Memory
from tasks_app.sources.errors import SourceNeedsPerson
from tasks_app.sources.generation.base import Capabilities
from tests.factories import make_generation, make_generation_source
from tests.unit.polling.generation_fake import FakeSource, bad

pytestmark = pytest.mark.django_db


@pytest.fixture
def source():
    return make_generation_source(last_pass_at=None, next_pass_at=now())


@pytest.fixture
def remote():
    return FakeSource(capabilities=Capabilities(forgets=True))


@pytest.fixture
def visit(source, remote):
    memories: dict[int, Memory] = {}

    def visit(client=lambda source: remote):
        """One claimed visit; the source as it stands afterwards."""
        remote.now = now()
        Source.objects.filter(pk=source.pk).update(next_pass_at=now())
        claimed = leases.claim(source.pk, "me", now())
        watch.visit_source(claimed, "me", None, memories, lambda: False, generation_client=client)
        source.refresh_from_db()
        assert source.lease_until is None
        return source

    return visit


def seconds_until(source):
    return (source.next_pass_at - now()).total_seconds()


def test_a_pass_that_was_answered_notes_health_and_the_first_sync(visit):
    source = visit()
    assert (source.health, source.latency_ms) == ("ok", 10)
    assert source.first_synced_at is not None
    assert 290 < seconds_until(source) <= 300
    first = source.first_synced_at
    assert visit().first_synced_at == first


def test_refused_credentials_are_marked_and_tried_every_five_minutes(visit, source, remote):
    rows = [make_generation(source, is_sent=True) for _ in range(3)]
    remote.failing = SourceNeedsPerson("401", kind="unauthorized", status=401)
    for number in (1, 2):
        visit()
        assert (source.health, source.error_kind) == ("failing", "unauthorized")
        assert 230 < seconds_until(source) < 370
        assert remote.calls.total() == number
    assert TaskEvent.objects.filter(kind="source").count() == 1
    remote.failing = None
    for row in rows:
        remote.put(row.task.remote_id)
    assert visit().health == "ok"


def test_one_bad_answer_says_nothing_about_the_source(visit, source, remote):
    make_generation(source, is_sent=True)
    remote.failing = bad()
    assert visit().health == "new"
    assert source.failures == 0
    assert 3 < seconds_until(source) < 7


def test_five_bad_answers_make_it_unreachable_and_the_wait_grows(visit, source, remote):
    for _ in range(6):
        make_generation(source, is_sent=True)
    remote.failing = bad("refused")
    waits = []
    for _ in range(5):
        visit()
        waits.append(seconds_until(source))
    assert (source.health, source.error_kind, source.failures) == ("failing", "refused", 5)
    assert remote.calls.total() == 5 + 4
    assert waits[0] < 1.3
    assert 12 < waits[4] < 20


def test_settings_that_make_no_sense_call_a_person(visit):
    def refuse(source):
        raise ValueError("offers is no list")

    source = visit(refuse)
    assert (source.error_kind, source.health) == ("settings", "failing")
    assert "offers is no list" in source.error_text
    assert seconds_until(source) > 230


def test_a_surprise_in_the_pass_is_noted_and_not_repeated_at_once(visit):
    def surprise(source):
        raise KeyError("unknown dialect")

    source = visit(surprise)
    assert (source.health, source.error_kind) == ("failing", "garbage")


def test_who_wakes_the_source_during_a_pass_is_heard(visit, source, remote):
    woken_at = now() + timedelta(seconds=1)

    def check():
        Source.objects.filter(pk=source.pk).update(next_pass_at=woken_at)

    remote.check = check
    assert visit().next_pass_at == woken_at
