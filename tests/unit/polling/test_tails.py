"""Logs of running tasks: read on from where we are, within a budget, watched ones first."""

from datetime import timedelta

import pytest

from tasks_app.ingest.logs import read_lines
from tasks_app.models import Task, TaskEvent
from tasks_app.polling import cadence
from tasks_app.sources.errors import SourceUnavailable

pytestmark = pytest.mark.django_db
COPY = "drive-scsi0: transferred {} GiB of 32.0 GiB ({:.2f}%) in {}s"


def row(task):
    return Task.objects.get(remote_id=task.upid)


def texts(task):
    return [text for _, text in read_lines(row(task), 0, 10_000)]


def log_calls(remote):
    return [entry for entry in remote.log if entry[0] == "log"]


def test_the_bar_moves_with_the_log(remote, visit_once):
    task = remote.start("qmclone", object_id="9000", lines=("create full clone of drive scsi0 (local:9000)",))
    visit_once()
    task.lines.append(COPY.format("8.0", 25.0, 8))
    visit_once()
    assert row(task).percent == pytest.approx(25, abs=2)
    assert row(task).bytes_done == 8 * 1024**3
    assert texts(task) == task.lines


def test_a_tail_asks_only_from_the_last_known_line_on(remote, visit_once):
    task = remote.start("qmclone", object_id="9000", lines=("one", "two", "three"))
    visit_once()
    task.lines += ["four"]
    visit_once()
    assert [entry[2] for entry in log_calls(remote)] == [0, 2]


def test_an_incomplete_last_line_is_written_again(remote, visit_once):
    task = remote.start("qmclone", object_id="9000", lines=("one", "tw"))
    visit_once()
    task.lines[1] = "two"
    visit_once()
    assert texts(task) == ["one", "two"]
    task.lines.append("three")
    visit_once()
    assert texts(task) == ["one", "two", "three"]


def test_a_log_that_stands_still_causes_no_event(remote, visit_once):
    remote.start("qmclone", object_id="9000", lines=("one", COPY.format("8.0", 25.0, 8)))
    visit_once()
    before = TaskEvent.objects.count()
    visit_once()
    visit_once()
    assert TaskEvent.objects.count() == before


def test_one_log_and_one_progress_event_a_pass_however_many_lines(remote, visit_once):
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    task.lines += [COPY.format(n / 10, n / 3.2, n) for n in range(1, 200)]
    visit_once()
    kinds = list(TaskEvent.objects.filter(task_id=row(task).pk).values_list("kind", flat=True))
    assert sorted(kinds) == ["log", "new", "progress"]


def test_a_task_without_numbers_is_not_followed(remote, visit_once):
    remote.start("qmstart", lines=("one",))
    for _ in range(5):
        visit_once()
    assert log_calls(remote) == []


def test_a_watched_task_is_followed_whatever_it_is(remote, visit_once):
    task = remote.start("qmstart", lines=("one",))
    visit_once()
    Task.objects.update(watched_until=remote.now + timedelta(seconds=30))
    visit_once()
    assert texts(task) == ["one"]


def test_a_hundred_moving_tasks_cost_less_than_eight_requests_a_task_and_minute(remote, visit_once):
    remote.config = {"scsi0": "local:9000/base-9000-disk-0.qcow2,size=32G"}
    tasks = [remote.start("qmclone", object_id=str(9000 + n), node=f"pve{n % 3 + 1}") for n in range(100)]
    visit_once()
    remote.calls.clear()
    for second in range(60):
        for task in tasks:
            task.lines.append(COPY.format(second / 10, second / 3.2, second))
        visit_once()
    assert sum(remote.calls.values()) / 100 <= 8
    assert min(row(task).percent or 0 for task in tasks) > 10


def test_a_hundred_tasks_without_bars_cost_less_than_one_request_a_task_and_minute(remote, visit_once):
    for n in range(100):
        remote.start("qmstart", object_id=str(100 + n), node=f"pve{n % 3 + 1}")
    visit_once()
    remote.calls.clear()
    for _ in range(60):
        visit_once()
    assert sum(remote.calls.values()) / 100 <= 1


def test_the_budget_goes_round(remote, visit_once):
    for n in range(30):
        remote.start("qmmove", object_id=str(100 + n), lines=("one",))
    visit_once()
    for _ in range(8):
        visit_once()
    read = {entry[1] for entry in log_calls(remote)}
    assert len(read) == 30


def test_watched_tasks_come_first(remote, visit_once):
    tasks = [remote.start("vzdump", object_id=str(n), lines=("one",)) for n in range(40)]
    visit_once()
    last = tasks[-1]
    Task.objects.filter(remote_id=last.upid).update(watched_until=remote.now + timedelta(seconds=300))
    for _ in range(5):
        remote.log.clear()
        visit_once()
        assert log_calls(remote)[0][1] == last.upid
        assert len(log_calls(remote)) <= cadence.TAILS_PER_PASS


def test_disks_of_a_clone_are_asked_for_once(remote, visit_once):
    remote.config = {"scsi0": "local:9000/disk-0.qcow2,size=32G", "scsi1": "local:9000/disk-1.qcow2,size=96G"}
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    task.lines += [
        "create full clone of drive scsi0 (local:9000/disk-0.qcow2)",
        COPY.format("32.0", 100.0, 8),
    ]
    for _ in range(4):
        visit_once()
    assert remote.calls["config"] == 1
    assert row(task).percent == pytest.approx(25, abs=3)


def test_disks_that_cannot_be_read_stop_nothing(remote, visit_once):
    remote.failing_calls["config"] = SourceUnavailable("no", kind="timeout")
    task = remote.start("qmclone", object_id="9000", lines=("one",))
    visit_once()
    visit_once()
    assert texts(task) == ["one"]


def test_a_log_of_many_pages_is_caught_up(remote, visit_once):
    task = remote.start("vzdump", lines=tuple(f"INFO: line {n}" for n in range(9000)))
    for _ in range(4):
        visit_once()
    assert row(task).log_total == 9000
    assert texts(task)[-1] == "INFO: line 8999"


def test_short_pages_of_huge_lines_are_followed_to_the_end(remote, visit_once):
    remote.page_limit = 2
    task = remote.start("vzdump", lines=tuple("x" * 300_000 for _ in range(5)))
    visit_once()
    remote.end(task)
    visit_once()
    assert row(task).log.is_complete
    assert [len(text) for text in texts(task)] == [300_000] * 5 + [7]


def test_the_log_of_an_ended_task_is_read_on_in_the_next_pass_when_it_is_very_long(remote, visit_once):
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    task.lines += [f"line {n}" for n in range(45_000)]
    remote.end(task, "job errors")
    assert visit_once().has_more
    assert not row(task).log.is_complete
    for _ in range(4):
        visit_once()
    assert (row(task).log.lines, row(task).log.is_complete) == (45_001, True)
    assert read_lines(row(task), 45_000, 10) == [(45_001, "TASK ERROR: job errors")]


def test_an_end_whose_log_cannot_be_read_is_written_and_its_log_read_later(remote, visit_once):
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    remote.end(task, "disk full")
    remote.down.add("pve1")
    visit_once()
    assert row(task).exit_text == "disk full"
    assert not hasattr(row(task), "log")
    remote.down.clear()
    for _ in range(130):
        visit_once(seconds=6)
    assert row(task).log.is_complete


def test_a_log_that_is_gone_is_noted_and_not_asked_for_again(remote, visit_once):
    visit_once()
    task = remote.start()
    remote.end(task)
    plain = remote.fetch_log

    def gone(node, upid, *, after, limit=500):
        task.is_forgotten = True
        return plain(node, upid, after=after, limit=limit)

    remote.fetch_log = gone
    visit_once()
    assert "no longer has this log" in row(task).log.note
    remote.log.clear()
    for _ in range(5):
        visit_once(seconds=200)
    assert log_calls(remote) == []


def test_a_clone_tells_its_new_guest(remote, visit_once):
    task = remote.start(
        "qmclone",
        object_id="9000",
        lines=("create full clone of drive scsi0 (local:9000/base-9000-disk-0.qcow2)",),
    )
    visit_once()
    task.lines.append("Formatting '/var/lib/vz/images/207/vm-207-disk-0.qcow2', fmt=qcow2")
    remote.end(task)
    visit_once()
    assert row(task).new_vmid == 207
    assert "(207)" in row(task).search_text or "→ 207" in row(task).search_text
