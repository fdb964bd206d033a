"""Whole logs of many ended tasks, kept at once."""

import pytest
from django.utils.timezone import now

from tasks_app.ingest.logs import read_lines
from tasks_app.ingest.whole_logs import store_whole_logs
from tasks_app.models import LogChunk, LogLine, TaskEvent, TaskLog
from tasks_app.states import State
from tests.factories import make_source, make_task

pytestmark = pytest.mark.django_db


def test_logs_are_read_as_any_other():
    source = make_source()
    short, long = (make_task(source, state=State.COMPLETED, object_id=str(n)) for n in (101, 102))
    many = [f"line {n}" for n in range(1, 2501)]
    assert store_whole_logs(source, {short.pk: ["a\0b", "TASK OK"], long.pk: many}, at=now()) == 2
    assert read_lines(short, 0, 10) == [(1, "a\ufffdb"), (2, "TASK OK")]
    assert read_lines(long, 998, 4) == [(n, f"line {n}") for n in range(999, 1003)]
    assert LogChunk.objects.filter(log__task=long).count() == 3
    long.refresh_from_db()
    assert long.log_total == long.log.lines == 2500
    assert long.log.is_complete
    assert TaskEvent.objects.filter(kind=TaskEvent.Kind.LOG).count() == 2


def test_a_second_time_nothing_is_written():
    source = make_source()
    task = make_task(source, state=State.FAILED)
    store_whole_logs(source, {task.pk: ["TASK ERROR: no"]}, at=now())
    assert store_whole_logs(source, {task.pk: ["TASK ERROR: other"]}, at=now()) == 0
    assert read_lines(task, 0, 10) == [(1, "TASK ERROR: no")]


def test_what_runs_or_has_lines_is_left_to_others():
    source = make_source()
    running = make_task(source)
    followed = make_task(source, state=State.COMPLETED, object_id="102")
    LogLine.objects.create(task=followed, number=1, text="seen live")
    foreign = make_task(state=State.COMPLETED, object_id="103")
    logs = {task.pk: ["TASK OK"] for task in (running, followed, foreign)}
    assert store_whole_logs(source, logs, at=now()) == 0
    assert not TaskLog.objects.exists()


def test_an_empty_log_is_complete_too():
    source = make_source()
    task = make_task(source, state=State.LOST)
    assert store_whole_logs(source, {task.pk: []}, at=now()) == 1
    assert TaskLog.objects.get().is_complete
    assert read_lines(task, 0, 10) == []
