"""Node lists: how far they are read, in pages that overlap, with a cursor that moves last."""

from datetime import timedelta

import pytest

from tasks_app.models import Node, Task
from tasks_app.polling import cadence
from tests.unit.polling.scripted import START

pytestmark = pytest.mark.django_db


def cursor(node="pve1"):
    return Node.objects.get(name=node).cursor


def lists(remote, node="pve1"):
    return [entry for entry in remote.log if entry[:2] == ("list", node)]


def test_the_cursor_stands_on_the_newest_start_that_was_read(remote, visit_once):
    remote.end(remote.start(started_at=START - timedelta(seconds=50)))
    newest = remote.start(started_at=START - timedelta(seconds=20))
    remote.end(newest)
    visit_once()
    assert cursor() == int(newest.started_at.timestamp())


def test_the_end_of_a_task_that_began_before_the_cursor_is_read(remote, visit_once):
    running = remote.start("vzdump", started_at=START - timedelta(seconds=5000))
    remote.end(remote.start(started_at=START - timedelta(seconds=20)))
    visit_once()
    assert cursor() > int(running.started_at.timestamp())
    for _ in range(30):
        remote.end(remote.start())
    remote.end(running, "disk full")
    visit_once(seconds=86_400, forget=True)
    assert Task.objects.get(remote_id=running.upid).exit_text == "disk full"


def test_tasks_of_the_cursors_own_second_are_read_again(remote, visit_once):
    first = remote.start(started_at=START)
    remote.end(first)
    visit_once()
    twin = remote.start(started_at=START)
    remote.end(twin)
    for _ in range(30):
        remote.end(remote.start(started_at=START + timedelta(seconds=5)))
    visit_once(seconds=11)
    assert Task.objects.filter(remote_id=twin.upid).exists()
    assert Task.objects.filter(remote_id=first.upid).count() == 1


def test_a_start_in_the_future_does_not_carry_the_cursor_away(remote, visit_once):
    remote.end(remote.start(started_at=START + timedelta(days=365 * 50)))
    visit_once()
    assert cursor() <= int(remote.now.timestamp())


def test_the_cursor_stays_where_the_node_did_not_answer(remote, visit_once):
    remote.end(remote.start(node="pve2"))
    visit_once()
    before = cursor("pve2")
    remote.down.add("pve2")
    remote.end(remote.start(node="pve1"))
    visit_once(seconds=11)
    assert cursor("pve1") > 0
    assert cursor("pve2") == before


def test_the_cursor_never_goes_back(remote, visit_once):
    remote.end(remote.start())
    visit_once()
    before = cursor()
    remote.tasks.clear()
    visit_once(seconds=11)
    assert cursor() == before


def test_long_lists_are_read_in_overlapping_pages(remote, visit_once):
    for i in range(1100):
        remote.end(remote.start(started_at=START - timedelta(seconds=2000 - i)))
    visit_once()
    starts = [entry[3] for entry in lists(remote)]
    step = cadence.PAGE_ROWS - cadence.PAGE_OVERLAP
    assert starts == [0, step, 2 * step]
    assert Task.objects.count() == 1100


def test_a_list_that_fails_on_its_second_page_is_read_again_from_the_same_place(remote, visit_once):
    for i in range(600):
        remote.end(remote.start(started_at=START - timedelta(seconds=2000 - i)))
    plain = remote.fetch_node_tasks

    class Torn(Exception):
        pass

    def torn(node, *, since, start=0, limit=500, source="all"):
        if start:
            raise Torn
        return plain(node, since=since, start=start, limit=limit, source=source)

    remote.fetch_node_tasks = torn
    with pytest.raises(Torn):
        visit_once()
    remote.fetch_node_tasks = plain
    visit_once(seconds=30)
    assert Task.objects.count() == 600


def test_reading_begins_before_the_oldest_task_that_is_still_open(remote, visit_once):
    running = remote.start("vzdump", started_at=START - timedelta(seconds=500))
    visit_once()
    Node.objects.update(cursor=int(START.timestamp()))
    visit_once(seconds=11)
    since = lists(remote)[-1][2]
    assert since == int(running.started_at.timestamp()) - cadence.SINCE_MARGIN_SECONDS
