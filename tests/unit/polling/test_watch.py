"""Claims of sources and slots, and the loop around the passes."""

import time
from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import Source, Task, TaskEvent, WatchSlot
from tasks_app.polling import cadence, leases, slots, watch
from tasks_app.sources.errors import SourceNeedsPerson, SourceUnavailable
from tests.factories import make_source
from tests.unit.polling.scripted import ScriptedRemote


@pytest.mark.django_db
def test_a_claimed_source_is_free_again_when_its_lease_has_run_out():
    source, at = make_source(), now()
    assert leases.claim(source.pk, "killed", at)
    assert leases.claim(source.pk, "next", at + timedelta(seconds=4)) is None
    assert leases.claim(source.pk, "next", at + cadence.LEASE)


@pytest.mark.django_db
def test_a_renewed_lease_is_not_free():
    source, at = make_source(), now()
    leases.claim(source.pk, "mine", at)
    assert leases.renew([source.pk], "mine", at + timedelta(seconds=4)) == {source.pk}
    assert leases.claim(source.pk, "next", at + cadence.LEASE) is None


@pytest.mark.django_db
def test_a_paused_source_is_not_visited():
    source = make_source(paused_at=now())
    assert leases.due_sources(now(), is_leading=True) == []
    assert leases.claim(source.pk, "mine", now()) is None


@pytest.mark.django_db
def test_a_loop_that_stands_by_takes_only_what_is_overdue_by_a_lease():
    late, _ = make_source(next_pass_at=now() - timedelta(seconds=6)), make_source()
    assert leases.due_sources(now(), is_leading=False) == [late.pk]


@pytest.mark.django_db
def test_the_lowest_living_slot_leads():
    at = now()
    slots.claim(0, "a", at)
    slots.claim(1, "b", at)
    assert slots.leads(0, at)
    assert not slots.leads(1, at)
    assert slots.leads(1, at + cadence.SLOT_LEASE)


@pytest.mark.django_db
def test_a_slot_whose_loop_was_killed_is_taken_over_and_its_renewal_refused():
    at = now()
    slots.claim(0, "killed", at)
    later = at + cadence.SLOT_LEASE
    assert slots.claim(0, "next", later)
    assert not slots.renew(0, "killed", later)


@pytest.fixture
def queued(settings):
    """How many watch jobs wait in the queue of the watch cluster."""
    from django_q.models import OrmQ

    return lambda: OrmQ.objects.filter(key="watch").count()


@pytest.mark.django_db
def test_a_copy_that_finds_its_slot_taken_exits_at_once(queued):
    slots.claim(0, "alive", now())
    began = time.monotonic()
    watch.run_slice(0)
    assert time.monotonic() - began < 0.5
    assert WatchSlot.objects.get(slot=0).owner == "alive"
    assert queued() == 0


@pytest.mark.django_db
def test_watchers_are_started_once_for_every_free_slot(queued):
    slots.claim(1, "alive", now())
    watch.ensure_watchers()
    watch.ensure_watchers()
    assert queued() == 1


@pytest.mark.django_db
def test_a_message_that_was_lost_is_sent_again(queued):
    watch.ensure_watchers()
    slots.enqueue_free(now() + cadence.SUCCESSOR)
    assert queued() == 4


@pytest.mark.django_db
def test_a_failed_pass_is_noted_on_the_source_and_told_once():
    source = make_source()
    task_count = Task.objects.count()
    remote = ScriptedRemote("pve1")
    remote.failing = SourceUnavailable("pve1:8006 refuses connections.", kind="refused")
    for _ in range(3):
        Source.objects.update(next_pass_at=now())
        claimed = leases.claim(source.pk, "me", now())
        watch.visit_source(claimed, "me", lambda s: remote, {}, lambda: False)
    source.refresh_from_db()
    assert (source.failures, source.error_kind, source.health) == (3, "refused", "failing")
    assert source.failing_since
    assert timedelta(seconds=3) < source.next_pass_at - now() < timedelta(seconds=5)
    assert TaskEvent.objects.filter(kind="source").count() == 1
    assert Task.objects.count() == task_count


@pytest.mark.django_db
def test_a_source_that_answers_again_is_well_at_once():
    source = make_source(failing_since=now(), failures=5, error_kind="refused", error_text="x")
    claimed = leases.claim(source.pk, "me", now())
    watch.visit_source(claimed, "me", lambda s: ScriptedRemote("pve1"), {}, lambda: False)
    source.refresh_from_db()
    assert (source.failures, source.error_kind, source.health, source.lease_owner) == (0, "", "ok", "")
    assert TaskEvent.objects.filter(kind="source").exists()


@pytest.mark.django_db
def test_a_refused_token_is_not_hammered():
    source = make_source()
    remote = ScriptedRemote("pve1")
    remote.failing = SourceNeedsPerson("wrong token", kind="unauthorized", status=401)
    watch.visit_source(leases.claim(source.pk, "me", now()), "me", lambda s: remote, {}, lambda: False)
    source.refresh_from_db()
    assert source.next_pass_at - now() > timedelta(seconds=45)


@pytest.mark.django_db
def test_a_pass_that_breaks_in_an_unforeseen_way_is_a_failure_of_the_source():
    source = make_source()
    remote = ScriptedRemote("pve1")
    remote.failing = ValueError("nobody thought of that")
    watch.visit_source(leases.claim(source.pk, "me", now()), "me", lambda s: remote, {}, lambda: False)
    source.refresh_from_db()
    assert source.failures == 1
    assert source.lease_owner == ""


@pytest.mark.django_db
def test_a_source_woken_during_a_pass_is_visited_again_at_once():
    source = make_source()
    woken = now()

    class Waking(ScriptedRemote):
        def fetch_cluster_tasks(self):
            Source.objects.filter(pk=source.pk).update(next_pass_at=woken)
            return super().fetch_cluster_tasks()

    watch.visit_source(
        leases.claim(source.pk, "me", now()), "me", lambda s: Waking("pve1"), {}, lambda: False
    )
    assert Source.objects.get(pk=source.pk).next_pass_at == woken
    assert leases.due_sources(now(), is_leading=True) == [source.pk]


@pytest.mark.django_db
def test_a_pass_that_has_lost_its_lease_writes_nothing_about_the_source():
    source = make_source()
    claimed = leases.claim(source.pk, "slow", now())
    Source.objects.update(lease_owner="other")
    watch.visit_source(claimed, "slow", lambda s: ScriptedRemote("pve1"), {}, lambda: False)
    assert Source.objects.get(pk=source.pk).lease_owner == "other"
