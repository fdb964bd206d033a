"""What passes the filters of the audit trail, read as a page and walked as an export."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils.timezone import now

from tasks_app.audit import filters as module
from tasks_app.audit.actions import Action
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, AuditHead, triggers
from tests.factories import make_source, make_user

pytestmark = pytest.mark.django_db
REFUSED = AuditEntry.Result.REFUSED


def walked(filters):
    return [entry.number for chunk in filters.walk(AuditEntry.objects.all()) for entry in chunk]


def both(filters):
    """Numbers oldest first; the page and the walk must agree."""
    page = sorted(filters.apply(AuditEntry.objects.all()).values_list("number", flat=True))
    assert walked(filters) == page
    return page


def rewrite(entry, **values):
    triggers.remove(connection)
    AuditEntry.objects.filter(pk=entry.pk).update(**values)
    triggers.install(connection)


@pytest.fixture
def trail():
    alice, source = make_user(username="alice"), make_source(name="prod")
    set_origin(Origin("req-1", "2001:db8::7", "Firefox"))
    try:
        record(Action.LOGIN, actor=alice)
        record(Action.SOURCE_PAUSE, actor=alice, target=source, reason="Wartung über Nacht")
        record(
            Action.TASK_CANCEL,
            actor=None,
            source=source,
            target_name="Clone 303",
            upid="UPID:pve1:00AA:",
            result=REFUSED,
        )
    finally:
        set_origin(Origin())
    return source


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (AuditFilters(), [1, 2, 3]),
        (AuditFilters(actor="alice"), [1, 2]),
        (AuditFilters(actor="ali"), []),
        (AuditFilters(action="task.cancel"), [3]),
        (AuditFilters(result="refused"), [3]),
        (AuditFilters(source="prod"), [2, 3]),
        (AuditFilters(request="req-1", actor="portal"), [3]),
        (AuditFilters(target="clone"), [3]),
        (AuditFilters(text="PROD paus"), [2]),
        (AuditFilters(text="upid:pve1:00aa:"), [3]),
        (AuditFilters(text="über"), [2]),
        (AuditFilters(text="2001:db8"), [1, 2, 3]),
        (AuditFilters(text='"clone 303"'), [3]),
        (AuditFilters(text="%"), []),
        (AuditFilters(text="fox_"), []),
    ],
    ids=lambda value: repr(value) if isinstance(value, AuditFilters) else "",
)
def test_each_filter_keeps_what_it_says(trail, filters, numbers):
    assert both(filters) == numbers


def test_an_object_is_found_by_kind_and_key(trail):
    assert both(AuditFilters(target=f"source:{trail.pk}")) == [2]
    assert both(AuditFilters(target=f"source:{trail.pk + 1}")) == []


def test_a_stretch_of_time_has_its_beginning_and_not_its_end():
    noon = now()
    for hours in (-30, -2, 0, 2, 30):
        entry = record(Action.LOGIN, actor=None)
        rewrite(entry, at=noon + timedelta(hours=hours))
    assert both(AuditFilters(since=noon - timedelta(hours=2))) == [2, 3, 4, 5]
    assert both(AuditFilters(since=noon, until=noon + timedelta(hours=2))) == [3]
    assert both(AuditFilters(until=noon - timedelta(hours=2))) == [1]
    assert both(AuditFilters(since=noon + timedelta(days=9))) == []


def test_an_entry_that_took_its_time_before_another_but_its_number_after_is_not_missed():
    noon = now()
    for minutes in (-61, -2, 10, 1, 59):
        rewrite(record(Action.LOGIN, actor=None), at=noon + timedelta(minutes=minutes))
    assert both(AuditFilters(since=noon + timedelta(minutes=1))) == [3, 4, 5]
    assert both(AuditFilters(until=noon + timedelta(minutes=9))) == [1, 2, 4]


@pytest.mark.parametrize(("window", "chunk"), [(1, 500), (3, 2), (4, 4), (100, 1), (100, 3), (100, 10)])
def test_a_walk_comes_by_every_entry_once_whatever_the_size_of_its_steps(monkeypatch, window, chunk):
    monkeypatch.setattr(module, "WINDOW", window)
    monkeypatch.setattr(module, "CHUNK", chunk)
    for number in range(10):
        record(Action.LOGIN if number % 3 else Action.LOGOUT, actor=None)
    assert walked(AuditFilters()) == list(range(1, 11))
    assert walked(AuditFilters(action="person.logout")) == [1, 4, 7, 10]


def test_a_walk_ends_where_the_trail_ended_when_it_began():
    for _ in range(3):
        record(Action.LOGIN, actor=None)
    walk = AuditFilters().walk(AuditEntry.objects.all())
    first = next(walk)
    record(Action.LOGIN, actor=None)
    assert [entry.number for entry in first] == [1, 2, 3]
    assert list(walk) == []


def test_a_walk_begins_after_what_was_purged():
    for _ in range(3):
        record(Action.LOGIN, actor=None)
    AuditHead.objects.update(purged_to=2)
    assert walked(AuditFilters()) == [3]


def test_a_walk_reads_a_stretch_of_numbers_and_not_all_entries_of_a_person():
    """The plan of SQLite, which takes the index of a person otherwise; PostgreSQL knows how many there are."""
    if connection.vendor != "sqlite":
        pytest.skip("plans of SQLite")
    entries = AuditFilters(actor="alice", action="person.login", request="r", target="task:7")
    plan = entries._apply(AuditEntry.objects.all(), is_walk=True)
    plan = plan.filter(number__gt=5, number__lte=9).order_by("number")[:3].explain()
    assert "(number>? AND number<?)" in plan
