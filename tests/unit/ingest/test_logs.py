"""Logs: appended while a task runs, compressed when it has ended, read the same way always."""

from datetime import UTC, datetime

import pytest

from tasks_app.ingest import logs
from tasks_app.ingest.logs import append_lines, read_lines, store_disk_bytes, store_final_log, tracker_of
from tasks_app.models import LogChunk, LogLine, Task, TaskEvent, TaskLog
from tasks_app.sources.base import RemoteLogLine
from tasks_app.states import State
from tests.factories import make_task

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
COPY = "drive-scsi0: transferred {} GiB of 32.0 GiB ({:.2f}%) in {}s"


def lines(*texts, first=1):
    return [RemoteLogLine(first + i, text) for i, text in enumerate(texts)]


def append(task, *texts, first=1):
    return append_lines(task, lines(*texts, first=first), at=AT)


def store(task, *texts, first=1, complete=True, note=""):
    row = Task.objects.get(pk=task.pk)
    return store_final_log(
        row, lines(*texts, first=first), complete=complete, note=note, at=AT, sleep=lambda _: None
    )


def end(task):
    Task.objects.filter(pk=task.pk).update(state=State.COMPLETED)


def texts_of(task):
    return [text for _, text in read_lines(task, 0, 1_000_000)]


def test_lines_are_kept_and_the_progress_is_read_from_them():
    task = make_task(type="qmclone", object_id="9000")
    append(task, "create full clone of drive scsi0 (local:9000/disk)", COPY.format("16.0", 50.0, 8))
    task.refresh_from_db()
    assert (task.log_total, task.bytes_total) == (2, 32 * 1024**3)
    assert 45 < task.percent < 55
    assert texts_of(task)[1].startswith("drive-scsi0")


def test_appending_the_same_lines_again_writes_nothing(django_assert_max_num_queries):
    task = make_task(type="qmclone", object_id="9000")
    append(task, "one", COPY.format("16.0", 50.0, 8))
    before = Task.objects.values().get(pk=task.pk), TaskEvent.objects.count()
    with django_assert_max_num_queries(5) as queries:
        assert append(task, "one", COPY.format("16.0", 50.0, 8)).lines == 0
    assert (Task.objects.values().get(pk=task.pk), TaskEvent.objects.count()) == before
    assert not [q for q in queries.captured_queries if q["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]


def test_lines_behind_a_gap_are_refused():
    task = make_task()
    append(task, "one")
    assert append(task, "three", first=3).lines == 0
    assert texts_of(task) == ["one"]


def test_a_last_line_that_grew_replaces_the_incomplete_one():
    task = make_task(type="qmclone", object_id="9000")
    append(task, "one", "drive-scsi0: transferred 16.0 GiB of 32.")
    append(task, COPY.format("16.0", 50.0, 8), first=2)
    assert texts_of(task) == ["one", COPY.format("16.0", 50.0, 8)]
    task.refresh_from_db()
    assert task.log_total == 2
    assert 45 < task.percent < 55


def test_each_line_is_fed_to_the_tracker_once():
    task = make_task(type="vzdump")
    for n in range(1, 30):
        append(task, f"INFO: {n}", f"INFO: part of {n + 1}", first=n)
    task.refresh_from_db()
    assert task.log_total == 30
    assert tracker_of(task).lines == 29


def test_a_tracker_of_another_version_is_rebuilt_from_the_lines():
    task = make_task(type="qmclone", object_id="9000")
    append(task, "create full clone of drive scsi0 (local:9000/disk)", COPY.format("8.0", 25.0, 8), "x")
    Task.objects.update(tracker_state={"version": 0})
    append(task, "x", COPY.format("16.0", 50.0, 16), first=3)
    task.refresh_from_db()
    assert tracker_of(task).lines == 3
    assert 45 < task.percent < 55


def test_disk_sizes_that_come_later_weigh_what_was_read_before():
    task = make_task(type="qmclone", object_id="9000")
    append(task, "create full clone of drive scsi0 (local:9000/disk-0)", COPY.format("16.0", 50.0, 8))
    store_disk_bytes(task, {"scsi0": 32 * 1024**3, "scsi1": 32 * 1024**3})
    append(task, COPY.format("16.0", 50.0, 8), COPY.format("16.0", 50.0, 9), first=2)
    task.refresh_from_db()
    assert task.percent == pytest.approx(25, abs=3)


@pytest.mark.parametrize(
    "hostile",
    ["a\0b", "\x1b[31mred\x1b[0m", "10%\r20%\r30%", "\ud800", "x" * 300_000, "", "ä€😀", "two\nlines", "\n"],
)
def test_hostile_lines_survive_while_running_and_after(hostile):
    task = make_task(type="vzdump")
    append(task, "before", hostile, "after")
    append(task, "after", "last", first=3)
    while_running = texts_of(task)
    assert len(while_running) == 4
    assert "\0" not in while_running[1]
    end(task)
    store(task, "last", "TASK OK", first=4)
    assert texts_of(task) == [*while_running, "TASK OK"]


def test_nul_becomes_a_visible_replacement():
    task = make_task()
    append(task, "a\0b")
    assert texts_of(task) == ["a\ufffdb"]


def test_absurd_sizes_do_not_break_the_row():
    task = make_task(type="qmclone", object_id="9000")
    append(task, "drive-scsi0: transferred 999999999999999 EiB of 999999999999999 EiB (100.00%) in 1s", "x")
    task.refresh_from_db()
    assert (task.bytes_done, task.bytes_total) == (None, None)


def test_an_ended_task_keeps_its_whole_log_compressed():
    task = make_task()
    append(task, *(f"line {n}" for n in range(1, 2501)))
    end(task)
    assert store(task, "line 2500", "TASK OK", first=2500) == 2501
    assert LogLine.objects.count() == 0
    assert list(LogChunk.objects.order_by("first").values_list("first", flat=True)) == [1, 1001, 2001]
    assert texts_of(task) == [f"line {n}" for n in range(1, 2501)] + ["TASK OK"]


def test_storing_a_log_twice_changes_nothing():
    task = make_task(state=State.COMPLETED)
    store(task, "one", "TASK OK")
    before = TaskEvent.objects.count(), TaskLog.objects.values().get()
    store(task, "other", "lines")
    assert (TaskEvent.objects.count(), TaskLog.objects.values().get()) == before


def test_a_log_can_be_stored_in_parts():
    task = make_task(state=State.COMPLETED)
    store(task, "one", "two", complete=False)
    store(task, "three", first=3, complete=False)
    store(task, "two again", "three again", "four", first=2)
    assert texts_of(task) == ["one", "two", "three", "four"]
    assert Task.objects.get().log.is_complete


def test_a_missing_log_is_noted_and_keeps_what_was_read_before():
    task = make_task()
    append(task, "one")
    end(task)
    store(task, complete=False, note="The node no longer has this log.")
    log = TaskLog.objects.get()
    assert (log.is_complete, log.lines, log.note) == (False, 1, "The node no longer has this log.")
    assert texts_of(task) == ["one"]


def test_a_log_beyond_the_limit_keeps_its_beginning_and_says_so():
    task = make_task(state=State.COMPLETED)
    store(task, *(str(n) for n in range(1, logs.MAX_LINES + 10)))
    log = TaskLog.objects.get()
    assert read_lines(task, logs.MAX_LINES - 1, 100) == [(logs.MAX_LINES, str(logs.MAX_LINES))]
    assert (log.is_complete, log.note) == (False, logs.PARTIAL_NOTE)


def test_a_log_of_too_many_characters_is_cut_while_running_and_after():
    task = make_task(type="vzdump")
    big = logs.MAX_CHARACTERS // 2
    assert not append(task, "a" * big, "b").is_full
    assert append(task, "b", "c" * big, "d", first=2).is_full
    end(task)
    store(task, "b", "c" * big, "TASK OK", first=2)
    assert [text[0] for text in texts_of(task)] == ["a", "b"]
    assert TaskLog.objects.get().note == logs.PARTIAL_NOTE


@pytest.mark.parametrize("is_ended", [False, True])
def test_any_window_of_a_log_can_be_read(is_ended):
    task = make_task()
    append(task, *(f"{n}" for n in range(1, 2501)))
    if is_ended:
        end(task)
        store(task)
    assert read_lines(task, 0, 2) == [(1, "1"), (2, "2")]
    assert read_lines(task, 999, 3) == [(1000, "1000"), (1001, "1001"), (1002, "1002")]
    assert read_lines(task, 2499, 10) == [(2500, "2500")]
    assert read_lines(task, 2500, 10) == []
    assert read_lines(task, -5, 1) == [(1, "1")]
    assert len(read_lines(task, 0, 2000)) == 2000


def test_reading_a_page_of_a_long_ended_log_touches_few_chunks(django_assert_num_queries):
    task = make_task(state=State.COMPLETED)
    store(task, *(f"{n}" for n in range(1, 20_001)))
    with django_assert_num_queries(4) as queries:
        read_lines(task, 10_500, 200)
    assert '"data"' in queries.captured_queries[-1]["sql"]


def test_a_running_log_stays_as_it_is_when_the_task_is_final():
    task = make_task(state=State.COMPLETED)
    assert append(task, "late").lines == 0
