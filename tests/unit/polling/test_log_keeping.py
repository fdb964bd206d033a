"""Whole logs are kept of everybody's tasks, as far as the source is set up so; a part is labelled."""

import pytest

from tasks_app.ingest.log_keeping import LARGEST_KB, NOT_KEPT_NOTE, LogKeeping, read_log_keeping
from tasks_app.ingest.logs import read_lines
from tasks_app.ingest.texts import index_batch
from tasks_app.models import LogChunk, LogLine, Source, Task, TaskLog
from tasks_app.models.search import find_matches, parse_terms
from tasks_app.polling import cadence
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.states import State
from tests.unit.polling.scripted import START

pytestmark = pytest.mark.django_db
OWN = "portal@pve!web"
CLONE_LINES = (
    "creating a clone of VM 9000 with ID 303",
    "create full clone of drive scsi0 (ceph:base-9000-disk-0)",
)


@pytest.fixture
def keep(source):
    def set_up(**settings):
        Source.objects.filter(pk=source.pk).update(settings=settings)

    return set_up


def row(task):
    return Task.objects.get(remote_id=task.upid)


def texts(task):
    return [text for _, text in read_lines(row(task), 0, 1_000_000)]


def settle(visit_once, passes=10):
    for _ in range(passes):
        visit_once(seconds=6)


def test_the_log_of_a_task_of_others_outlives_the_nodes_own(remote, visit_once):
    visit_once()
    task = remote.start("vzdump", user="root@pam", lines=("INFO: starting new backup job", "INFO: half way"))
    visit_once()
    remote.end(task, "job errors", last_line="TASK ERROR: job errors")
    visit_once()
    task.is_forgotten = True
    visit_once(seconds=3600, forget=True)
    assert texts(task) == ["INFO: starting new backup job", "INFO: half way", "TASK ERROR: job errors"]
    assert (row(task).log.is_complete, row(task).log.note) == (True, "")
    assert not LogLine.objects.exists()
    index_batch()
    assert find_matches(parse_terms("half way"), below=None, limit=5).matches


def test_a_log_beyond_the_limit_of_the_source_is_cut_at_a_line_and_labelled(remote, visit_once, keep):
    keep(log_limit_kb=16)
    visit_once()
    task = remote.start("vzdump", lines=tuple(f"INFO: {'x' * 93} {n:04}" for n in range(1000)))
    visit_once()
    remote.end(task, "disk full")
    visit_once()
    kept = texts(task)
    assert 150 < len(kept) <= 16 * 1024 / 104
    assert kept[-1].endswith(f"{len(kept) - 1:04}")
    log = row(task).log
    assert (log.is_complete, log.lines) == (False, len(kept))
    assert "first 16 KB" in log.note
    assert row(task).error_line == "disk full"


def test_no_more_is_fetched_of_a_log_than_is_kept(remote, visit_once, keep):
    keep(log_limit_kb=64)
    visit_once()
    task = remote.start("vzdump", lines=tuple(f"INFO: {'x' * 93} {n:06}" for n in range(50_000)))
    remote.end(task, "disk full")
    visit_once()
    settle(visit_once)
    asked = [entry for entry in remote.log if entry[0] == "log"]
    assert len(asked) <= 2
    assert row(task).log.note
    assert row(task).error_line == "disk full"


def test_a_log_that_fits_is_whole(remote, visit_once, keep):
    keep(log_limit_kb=16)
    visit_once()
    task = remote.start("vzdump", lines=tuple("x" * 99 for _ in range(100)))
    remote.end(task)
    visit_once()
    assert len(texts(task)) == 101
    assert (row(task).log.is_complete, row(task).log.note) == (True, "")


def test_logs_of_others_are_not_kept_where_the_source_is_set_up_so(remote, visit_once, keep):
    keep(keep_foreign_logs=False)
    visit_once()
    theirs = remote.start("vzdump", user="root@pam", lines=("INFO: private",))
    ours = remote.start("vzdump", user=OWN, lines=("INFO: ours",))
    visit_once()
    assert LogLine.objects.filter(task=row(theirs)).exists(), "what runs is followed as ever"
    remote.end(theirs, "disk full")
    remote.end(ours)
    visit_once()
    assert texts(ours) == ["INFO: ours", "TASK OK"]
    assert texts(theirs) == []
    assert (row(theirs).log.note, row(theirs).log_total) == (NOT_KEPT_NOTE, 0)
    assert (row(theirs).state, row(theirs).error_line) == (State.FAILED, "disk full")
    remote.log.clear()
    settle(visit_once)
    visit_once(seconds=cadence.BACKLOG_AGAIN.total_seconds())
    assert not [entry for entry in remote.log if entry[0] == "log"]


def test_logs_that_tell_nothing_are_not_even_read_when_they_are_not_kept(remote, visit_once, keep):
    keep(keep_foreign_logs=False)
    for _ in range(20):
        remote.end(remote.start())
    clone = remote.start("qmclone", object_id="9000", lines=CLONE_LINES)
    remote.end(clone)
    settle(visit_once)
    assert TaskLog.objects.filter(note=NOT_KEPT_NOTE).count() == 21
    assert {entry[1] for entry in remote.log if entry[0] == "log"} == {clone.upid}
    assert row(clone).new_vmid == 303
    assert not LogChunk.objects.exists()


def test_a_log_of_which_a_part_was_stored_when_it_was_switched_off_goes(remote, visit_once, keep):
    task = remote.start("vzdump", lines=tuple(f"INFO: {n}" for n in range(30_000)))
    visit_once()
    remote.end(task)
    visit_once()
    assert not row(task).log.is_complete
    assert row(task).log.lines
    keep(keep_foreign_logs=False)
    visit_once()
    assert (row(task).log.lines, row(task).log.note) == (0, NOT_KEPT_NOTE)
    assert not LogChunk.objects.exists()


@pytest.mark.parametrize("is_first", [True, False], ids=["first sync", "later"])
def test_searching_the_new_vmid_finds_its_own_creation(remote, visit_once, is_first):
    if not is_first:
        visit_once()
    clone = remote.start("qmclone", object_id="9000", lines=CLONE_LINES, started_at=START)
    remote.end(clone)
    remote.end(remote.start("qmclone", object_id="9000", lines=("creating a clone of VM 9000 with ID 304",)))
    settle(visit_once, 3)
    for filters in (HistoryFilters(text="303"), HistoryFilters(vmid=303)):
        assert [task.pk for task in filters.apply(Task.objects.all())] == [row(clone).pk]
    assert row(clone).new_vmid == 303


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_limit_kb": 15},
        {"log_limit_kb": 10**9},
        {"log_limit_kb": "64"},
        {"log_limit_kb": True},
        {"log_limit_kb": None, "keep_foreign_logs": "no"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_keep_everything(settings):
    assert read_log_keeping(settings) == LogKeeping(LARGEST_KB, True)


def test_settings_are_read_as_they_were_written():
    keeping = LogKeeping(64, False)
    assert read_log_keeping(keeping.as_settings()) == keeping
