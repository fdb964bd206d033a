"""Reading the table of events in order."""

import time
from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.live.events import EventReader, newest_event_id
from tasks_app.models import TaskEvent

pytestmark = pytest.mark.django_db


def add(*ids: int, seconds_ago: float = 0) -> None:
    TaskEvent.objects.bulk_create(
        TaskEvent(pk=id, task_id=id, source_id=1, kind="state", at=now() - timedelta(seconds=seconds_ago))
        for id in ids
    )


def ids(events) -> list[int]:
    return [event.id for event in events]


def test_what_was_there_before_is_not_new():
    add(5)
    assert (newest_event_id(), EventReader(0).read_new()) == (5, [])


def test_each_event_is_read_once_in_order():
    reader = EventReader(0)
    add(2, 1)
    assert ids(reader.read_new()) == [1, 2]
    add(3)
    assert ids(reader.read_new()) == [3]
    assert (reader.read_new(), reader.head) == ([], 3)


def test_an_event_that_was_committed_late_is_read_and_no_other_twice():
    add(1, seconds_ago=60)
    reader = EventReader(late_seconds=2)
    add(3, 5)
    assert ids(reader.read_new()) == [3, 5]
    add(2, 4)
    assert ids(reader.read_new()) == [2, 4]
    assert (reader.read_new(), reader.head) == ([], 5)


def test_an_event_that_was_late_when_the_reader_started_is_read():
    add(10, seconds_ago=60)
    add(12)
    reader = EventReader(late_seconds=2)
    assert reader.read_new() == []
    add(11)
    assert ids(reader.read_new()) == [11]


def test_what_is_older_than_the_window_is_not_read_again():
    reader = EventReader(late_seconds=0.01)
    add(3)
    reader.read_new()
    time.sleep(0.02)
    reader.read_new()
    add(2)
    assert reader.read_new() == []


def test_one_who_returns_on_postgresql_also_gets_what_was_committed_late():
    add(1, seconds_ago=60)
    add(2, 3)
    reader = EventReader(late_seconds=2)
    events, starts = reader.read_missed([3])
    assert (ids(events), starts) == ([2, 3], [1])


def test_one_who_returns_to_a_table_cut_down_to_its_newest_row_missed_nothing():
    add(700, seconds_ago=7200)
    events, starts = EventReader(late_seconds=0).read_missed([700])
    assert (events, starts) == ([], [700])
    assert EventReader(late_seconds=2).read_missed([700])[1] != [None]


def test_several_who_return_are_served_by_one_read():
    add(*range(1, 11))
    reader = EventReader(0)
    events, starts = reader.read_missed([10, 3, 7])
    assert (ids(events), starts) == ([4, 5, 6, 7, 8, 9, 10], [10, 3, 7])


def test_a_gap_where_rows_were_removed_is_told():
    add(8, 9)
    assert EventReader(0).read_missed([3, 7, 9])[1] == [None, 7, 9]
