"""Leases: reminders, the end, the grace period; late, twice, and after an extension."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tasks_app.models import AuditEntry, Guest, Machine, Notice, Source, Submission
from tasks_app.services.lease_times import due_reminder, told_at_first
from tasks_app.services.leases import run_leases
from tasks_app.services.machines import extend_lease
from tasks_app.services.removal import continue_removals
from tasks_app.states import State
from tests.factories import make_item, make_machine

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
END = START + 30 * DAY


@pytest.fixture
def machine():
    item = make_item(deletes_after_lease=True, grace_days=7)
    return make_machine(item=item, ready_at=START, created_at=START, expires_at=END)


def told():
    return list(Notice.objects.order_by("pk").values_list("text", flat=True))


def test_it_reminds_seven_three_and_one_days_before(machine):
    for hours in range(0, 30 * 24, 6):
        run_leases(at=START + timedelta(hours=hours))
    assert len(told()) == 3
    assert all("ends on 31 Mar 2026, 12:00" in text for text in told())
    assert "deleted with its disks 7 days later" in told()[0]
    assert Machine.objects.get().reminded_days == 1


@pytest.mark.parametrize(
    ("days_before", "expected"), [(7.01, 0), (6.99, 1), (3.01, 1), (2.99, 2), (1.01, 2), (0.99, 3)]
)
def test_each_reminder_comes_when_its_day_begins(machine, days_before, expected):
    for before in (10, 6.999, 2.999, 0.999):
        if before >= days_before:
            run_leases(at=END - timedelta(days=before))
    run_leases(at=END - timedelta(days=days_before))
    assert len(told()) == expected


def test_running_twice_tells_once(machine):
    for _ in range(3):
        run_leases(at=END - 2 * DAY)
    assert len(told()) == 1


def test_after_downtime_only_the_most_urgent_is_told(machine):
    run_leases(at=END - timedelta(hours=3))
    assert len(told()) == 1
    assert Machine.objects.get().reminded_days == 1


def test_a_short_lease_is_not_reminded_of_at_its_start():
    make_machine(ready_at=START, expires_at=START + 3 * DAY)
    run_leases(at=START)
    assert told() == []
    run_leases(at=START + 2 * DAY)
    assert len(told()) == 1


def test_at_the_end_it_is_shut_down_by_the_portal(machine):
    run_leases(at=END)
    submission = Submission.objects.get()
    assert (submission.action, submission.actor, submission.actor_name) == ("shutdown", None, "portal")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name) == ("machine.lease_end", "portal")
    row = Machine.objects.get()
    assert (row.reminded_days, row.delete_at) == (0, END + 7 * DAY)
    assert "will be deleted with its disks on 07 Apr 2026" in told()[-1]


def test_the_end_comes_once(machine):
    for minutes in (0, 10, 20):
        run_leases(at=END + timedelta(minutes=minutes))
    assert Submission.objects.count() == 1
    assert len(told()) == 1
    assert Machine.objects.get().delete_at == END + 7 * DAY


def test_a_stopped_machine_is_not_shut_down_again(machine):
    Guest.objects.update(status="stopped")
    run_leases(at=END)
    assert not Submission.objects.exists()
    assert AuditEntry.objects.get().data["deed"] == "none"


def test_when_the_portal_was_down_the_grace_begins_when_people_are_told(machine):
    run_leases(at=END + 20 * DAY)
    assert Machine.objects.get().delete_at == END + 27 * DAY
    run_leases(at=END + 20 * DAY + timedelta(minutes=10))
    assert list(Submission.objects.values_list("action", flat=True)) == ["shutdown"]


def test_an_item_that_does_not_say_so_deletes_nothing():
    make_machine(ready_at=START, expires_at=END)
    run_leases(at=END)
    assert Machine.objects.get().delete_at is None
    run_leases(at=END + 400 * DAY)
    assert list(Submission.objects.values_list("action", flat=True)) == ["shutdown"]


def end_shutdown(state=State.COMPLETED, at=END):
    Submission.objects.filter(action="shutdown").update(state=state, ended_at=at)


def test_after_the_grace_period_it_is_deleted(machine):
    run_leases(at=END)
    end_shutdown()
    Guest.objects.update(status="stopped")
    run_leases(at=END + 7 * DAY - timedelta(minutes=1))
    assert Submission.objects.count() == 1
    for _ in range(3):
        run_leases(at=END + 7 * DAY)
    assert list(Submission.objects.order_by("pk").values_list("action", "actor_name")) == [
        ("shutdown", "portal"),
        ("delete", "portal"),
    ]
    Submission.objects.filter(action="delete").update(state=State.COMPLETED)
    continue_removals()
    assert Machine.objects.get().stage == "gone"
    assert "portal deleted it" in told()[-1]


def test_an_extension_saves_it_from_deletion(machine):
    Machine.objects.update(expires_at=datetime.now(UTC) - DAY, ready_at=START)
    run_leases()
    machine.refresh_from_db()
    extend_lease(machine, actor=machine.owner, days=20)
    run_leases(at=datetime.now(UTC) + 10 * DAY)
    assert list(Submission.objects.values_list("action", flat=True)) == ["shutdown"]
    run_leases(at=datetime.now(UTC) + 14 * DAY)
    assert "ends on" in told()[-1]


def test_an_item_changed_during_the_grace_period_saves_it(machine):
    run_leases(at=END)
    machine.item.deletes_after_lease = False
    machine.item.save()
    run_leases(at=END + 8 * DAY)
    assert Machine.objects.get().delete_at is None
    assert not Submission.objects.filter(action="delete").exists()


@pytest.mark.parametrize("trouble", ["paused_at", "failing_since"])
def test_a_source_that_does_not_answer_is_waited_for(machine, trouble):
    Source.objects.update(**{trouble: START})
    run_leases(at=END)
    assert not Submission.objects.exists()
    assert told() == []
    Source.objects.update(**{trouble: None})
    run_leases(at=END + 2 * DAY)
    assert Submission.objects.get().action == "shutdown"


def test_a_guest_that_does_not_obey_is_switched_off_once(machine):
    run_leases(at=END)
    end_shutdown(State.FAILED)
    run_leases(at=END + timedelta(minutes=4))
    assert Submission.objects.count() == 1
    for minutes in (6, 16, 26):
        run_leases(at=END + timedelta(minutes=minutes))
    assert list(Submission.objects.order_by("pk").values_list("action", flat=True)) == ["shutdown", "stop"]
    assert AuditEntry.objects.count() == 2


def test_machines_that_are_gone_or_not_made_have_no_lease_to_end(machine):
    Machine.objects.update(ended_at=END - DAY, stage="gone")
    make_machine(stage="queued", expires_at=END)
    run_leases(at=END)
    assert told() == []


def test_a_machine_without_owner_tells_the_admins_of_its_team(machine):
    lead = machine.owner
    machine.team.admins.add(lead)
    Machine.objects.update(owner=None)
    run_leases(at=END - 2 * DAY)
    assert Notice.objects.get().user == lead


@pytest.mark.parametrize(
    ("left", "told_before", "due"),
    [(8, None, None), (7, None, 7), (4, 7, None), (3, 7, 3), (1, 3, 1), (0.5, None, 1), (0.5, 1, None)],
)
def test_reminders_by_days_left(left, told_before, due):
    assert due_reminder(left * DAY, told=told_before) == due


@pytest.mark.parametrize(("lasts", "counts_as"), [(30, None), (7, 7), (5, 7), (3, 3), (1, 1), (0.5, 1)])
def test_what_a_new_lease_counts_as_told(lasts, counts_as):
    assert told_at_first(lasts * DAY) == counts_as


def at_once(*deeds):
    """Runs them in threads that start together; each has a connection of its own."""
    gate = threading.Barrier(len(deeds))

    def run(deed):
        gate.wait(timeout=10)
        try:
            deed()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)


@pytest.mark.django_db(transaction=True)
def test_jobs_that_run_at_once_end_a_lease_once(machine):
    at_once(*[lambda: run_leases(at=END)] * 4)
    assert Submission.objects.count() == AuditEntry.objects.count() == Notice.objects.count() == 1
    end_shutdown()
    Guest.objects.update(status="stopped")
    at_once(*[lambda: run_leases(at=END + 7 * DAY)] * 4)
    assert Submission.objects.filter(action="delete").count() == 1
    Submission.objects.filter(action="delete").update(state=State.FAILED, error="protection mode enabled")
    at_once(*[continue_removals] * 4)
    assert Submission.objects.filter(action="configure").count() == 1
