"""One pass over a source: what it finds, what it asks, and what failures leave alone."""

from datetime import timedelta

import pytest

from tasks_app.models import Node, Source, Task, TaskEvent, TaskLog
from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Resource
from tasks_app.states import State
from tests.unit.polling.scripted import START

pytestmark = pytest.mark.django_db


def row(task):
    return Task.objects.get(remote_id=task.upid)


def events(task):
    return list(TaskEvent.objects.filter(task_id=row(task).pk).order_by("id").values_list("kind", flat=True))


def test_a_running_task_appears_and_ends_with_its_whole_log(remote, visit_once):
    visit_once()
    task = remote.start("qmclone", object_id="9000", lines=("create full clone of drive scsi0",))
    visit_once()
    assert row(task).state == State.PROCESSING
    remote.end(task)
    visit_once()
    ended = row(task)
    assert (ended.state, ended.exit_text, ended.ended_at) == (State.COMPLETED, "OK", task.ended_at)
    assert ended.log.is_complete and ended.log.lines == 2


def test_a_task_that_starts_and_ends_between_two_passes_is_found(remote, visit_once):
    visit_once()
    task = remote.start()
    remote.end(task, "no such VM")
    visit_once()
    assert (row(task).state, row(task).exit_text) == (State.FAILED, "no such VM")
    assert row(task).log.is_complete


def test_a_burst_beyond_the_slots_of_the_cluster_list_leaves_no_hole(remote, visit_once):
    remote.end(remote.start())
    visit_once()
    for _ in range(80):
        remote.end(remote.start())
    visit_once()
    assert Task.objects.count() == 81


def test_a_burst_is_found_even_by_a_process_that_remembers_nothing(remote, visit_once):
    visit_once()
    for _ in range(80):
        remote.end(remote.start(node="pve2"))
    visit_once(forget=True)
    assert Task.objects.count() == 80


def test_two_nodes_with_the_same_pid_are_two_tasks(remote, visit_once):
    remote.start(node="pve1", pid=77)
    remote.start(node="pve2", pid=77)
    visit_once()
    assert Task.objects.count() == 2


def test_a_long_task_that_falls_out_of_the_slots_gets_its_end_from_the_node(remote, visit_once):
    task = remote.start("vzdump")
    visit_once()
    remote.pass_time(60)
    for _ in range(30):
        remote.end(remote.start())
    remote.end(task)
    ended_at = task.ended_at
    visit_once()
    assert (row(task).state, row(task).ended_at) == (State.COMPLETED, ended_at)


def test_the_second_pass_writes_nothing_new(remote, visit_once):
    remote.start()
    remote.end(remote.start())
    visit_once()
    before = TaskEvent.objects.count(), list(Task.objects.order_by("pk").values())
    visit_once()
    assert (TaskEvent.objects.count(), list(Task.objects.order_by("pk").values())) == before


def test_a_quiet_pass_writes_no_row(remote, visit_once, django_assert_num_queries):
    remote.start()
    remote.end(remote.start())
    visit_once()
    visit_once()
    # the source (by the test), its nodes, its open tasks, the rows of what the lists show, watched logs to be read
    with django_assert_num_queries(5) as queries:
        visit_once()
    assert not [
        q["sql"] for q in queries.captured_queries if q["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
    ]


def test_a_final_task_is_never_asked_for_again(remote, visit_once):
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    remote.end(task)
    visit_once()
    remote.log.clear()
    for _ in range(40):
        visit_once()
    assert not [entry for entry in remote.log if task.upid in entry]


def test_a_task_is_lost_only_after_three_misses_over_two_minutes(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_forgotten = True
    states = []
    for _ in range(14):
        visit_once(seconds=10)
        states.append(row(task).state)
    assert states[:12] == [State.PROCESSING] * 12
    assert states[-1] == State.LOST
    assert events(task)[-1] == "state"


def test_many_misses_within_two_minutes_do_not_lose_a_task(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_forgotten = True
    for _ in range(60):
        visit_once(forget=True)  # a new process asks at once
    assert row(task).missing_count > 3
    assert row(task).state == State.PROCESSING


def test_a_task_found_again_is_no_longer_missing(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_forgotten = True
    visit_once()
    task.is_forgotten = False
    visit_once(seconds=60)
    assert (row(task).missing_count, row(task).missing_since) == (0, None)


def test_a_lost_task_that_reappears_ended_is_corrected(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_forgotten = True
    for _ in range(16):
        visit_once(seconds=10)
    assert row(task).state == State.LOST
    task.is_forgotten = False
    remote.end(task, "disk full")
    visit_once(seconds=10)
    assert (row(task).state, row(task).exit_text) == (State.FAILED, "disk full")
    assert "no longer knows" not in row(task).error_line


def test_a_running_task_that_the_cluster_list_drops_is_asked_for_by_itself(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_unlisted = True
    visit_once()
    assert ("status", task.upid) in remote.log
    assert row(task).state == State.PROCESSING
    remote.end(task)
    visit_once(seconds=3)
    assert (row(task).state, row(task).raw["end_estimated"]) == (State.COMPLETED, True)


def test_the_list_corrects_an_estimated_end_without_reopening(remote, visit_once):
    task = remote.start()
    visit_once()
    task.is_unlisted = True
    remote.end(task)
    true_end = task.ended_at
    visit_once(seconds=30)
    assert row(task).ended_at == remote.now != true_end
    task.is_unlisted = False
    visit_once(seconds=30)
    assert (row(task).state, row(task).ended_at) == (State.COMPLETED, true_end)
    assert "end_estimated" not in row(task).raw


def test_a_node_that_does_not_answer_leaves_its_tasks_as_they_are(remote, visit_once):
    there = remote.start(node="pve2")
    here = remote.start(node="pve1")
    visit_once()
    remote.down.add("pve2")
    there.is_unlisted = True
    remote.end(here)
    for _ in range(20):
        visit_once(seconds=20)
    assert (row(there).state, row(there).missing_count) == (State.PROCESSING, 0)
    assert row(here).state == State.COMPLETED


def test_a_silent_node_is_asked_ever_less_often(remote, visit_once):
    visit_once()
    remote.down.add("pve2")
    remote.log.clear()
    for _ in range(120):
        visit_once()
    asked = [entry for entry in remote.log if entry[:2] == ("list", "pve2")]
    assert 1 < len(asked) <= 6


def test_a_failed_request_changes_nothing_about_a_task(remote, visit_once):
    task = remote.start()
    visit_once()
    before = Task.objects.values().get()
    remote.failing = SourceUnavailable("down", kind="timeout")
    with pytest.raises(SourceUnavailable):
        visit_once()
    assert Task.objects.values().get() == before
    assert events(task) == ["new"]


@pytest.mark.parametrize("call", ["cluster", "list", "log", "status"])
def test_a_refused_request_ends_no_task(remote, visit_once, call):
    task = remote.start("qmclone", object_id="9000")
    visit_once()
    remote.failing_calls[call] = SourceRefused("forbidden", kind="forbidden", status=403)
    task.is_unlisted = True
    try:
        for _ in range(20):
            visit_once(seconds=10)
    except SourceRefused:
        assert call == "cluster"
    assert row(task).state == State.PROCESSING
    assert row(task).missing_count == 0


def test_a_cancelled_migration_is_told_from_a_failed_one_by_its_log(remote, visit_once):
    stopped, failed = remote.start("qmigrate"), remote.start("qmigrate", object_id="101")
    visit_once()
    stopped.lines.append("2026-11-20 10:00:01 ERROR: interrupted by signal")
    failed.lines.append("2026-11-20 10:00:01 ERROR: storage is full")
    remote.end(stopped, "migration aborted")
    remote.end(failed, "migration aborted")
    visit_once()
    assert (row(stopped).state, row(failed).state) == (State.CANCELLED, State.FAILED)
    assert "storage is full" in row(failed).error_line


def test_a_success_glued_to_other_text_is_completed(remote, visit_once):
    task = remote.start("qmdestroy")
    visit_once()
    remote.end(task, "unexpected status", last_line="RDMA initialized successfullyTASK OK")
    visit_once()
    assert row(task).state == State.COMPLETED


def test_a_task_that_we_asked_to_stop_is_cancelled_whatever_it_says(remote, visit_once):
    task = remote.start("vncproxy")
    visit_once()
    Task.objects.update(cancel_requested_at=remote.now)
    remote.end(task, "command 'x' failed: exit code 1")
    visit_once()
    assert row(task).state == State.CANCELLED


def test_a_task_that_finished_before_the_cancel_arrived_is_completed(remote, visit_once):
    task = remote.start()
    visit_once()
    Task.objects.update(cancel_requested_at=remote.now)
    remote.end(task, "WARNINGS: 2")
    visit_once()
    assert (row(task).state, row(task).warnings) == (State.COMPLETED, 2)


def test_a_token_without_the_right_to_list_the_cluster_lives_on_the_nodes(source, remote, visit_once):
    remote.permissions = {"/": {"VM.Audit": True}}
    task = remote.start(node="pve3")
    visit_once()
    assert row(task).state == State.PROCESSING
    remote.end(task)
    visit_once(seconds=2)
    visit_once(seconds=2)
    assert row(task).state == State.COMPLETED
    assert remote.calls["cluster"] == 0
    assert Source.objects.get(pk=source.pk).permissions == {"/": {"VM.Audit": 1}}


def test_a_right_that_was_taken_away_is_noticed_soon(source, remote, visit_once):
    remote.end(remote.start())
    visit_once()
    remote.permissions = {"/": {}}
    visit_once(seconds=31)
    assert Source.objects.get(pk=source.pk).permissions == {"/": {}}


def test_the_first_sync_takes_a_thousand_tasks_oldest_first(source, remote, visit_once):
    for i in range(1000):
        remote.end(remote.start(node=f"pve{i % 3 + 1}", started_at=START - timedelta(seconds=5000 - i)))
    visit_once()
    starts = list(Task.objects.order_by("pk").values_list("started_at", flat=True))
    assert len(starts) == 1000
    assert starts == sorted(starts)
    assert Source.objects.get(pk=source.pk).first_synced_at
    assert all(node.first_synced_at for node in Node.objects.all())


def test_the_first_sync_is_not_done_while_a_node_is_silent(source, remote, visit_once):
    remote.down.add("pve2")
    old = remote.start(node="pve2", started_at=START - timedelta(days=1))
    remote.end(old)
    for _ in range(30):
        remote.end(remote.start(node="pve2"))
    visit_once()
    assert Source.objects.get(pk=source.pk).first_synced_at is None
    remote.down.clear()
    visit_once(seconds=10)
    assert row(old).state == State.COMPLETED
    assert Source.objects.get(pk=source.pk).first_synced_at


def test_logs_of_older_tasks_are_fetched_a_few_at_a_time(remote, visit_once):
    for _ in range(30):
        remote.end(remote.start(started_at=START - timedelta(days=1)))
    visit_once()
    assert 0 < TaskLog.objects.count() <= 5
    for _ in range(10):
        visit_once(seconds=5)
    assert TaskLog.objects.filter(is_complete=True).count() == 30


def test_names_of_guests_stand_on_tasks(remote, visit_once):
    remote.resources = [Resource("qemu/100", "qemu", node="pve1", vmid=100, name="web-01", status="running")]
    visit_once()
    task = remote.start(object_id="100")
    visit_once()
    assert row(task).object_name == "web-01"
    assert "web-01" in row(task).search_text


def test_a_guest_that_gets_its_name_later_names_its_task(remote, visit_once):
    visit_once()
    task = remote.start(object_id="100")
    visit_once()
    remote.resources = [Resource("qemu/100", "qemu", node="pve1", vmid=100, name="web-01")]
    visit_once(seconds=16)
    assert row(task).object_name == "web-01"


def test_a_task_beyond_the_limit_of_its_kind_is_marked_overdue_once(remote, visit_once):
    task = remote.start()
    visit_once()
    visit_once(seconds=301)
    visit_once()
    assert row(task).overdue_since
    assert row(task).state == State.PROCESSING
    assert events(task) == ["new", "state"]


def test_a_source_is_visited_every_second_while_something_runs_and_less_when_idle(remote, visit_once):
    task = remote.start()
    assert visit_once().is_active
    remote.end(task)
    assert visit_once().is_active
    assert not visit_once(seconds=20).is_active
