"""Nothing a node still has is missed, what it has dropped is said, and what retention removed stays away."""

from datetime import timedelta

import pytest

from tasks_app.models import AuditEntry, HistoryGap, Node, RetentionPeriod, Source, Task
from tasks_app.polling import cadence
from tasks_app.states import State
from tests.unit.polling.scripted import START

pytestmark = pytest.mark.django_db
DAY = 86_400


def run_tasks(remote, count, *, node="pve1", began=None, apart=1.0):
    """`count` tasks that have ended, the first of them at `began`."""
    made = []
    for number in range(count):
        at = None if began is None else began + timedelta(seconds=number * apart)
        task = remote.start(node=node, started_at=at)
        remote.end(task)
        if at is not None:
            task.ended_at = at + timedelta(seconds=1)
        made.append(task)
    return made


def drop(*tasks):
    """As the node does when its files rotate."""
    for task in tasks:
        task.is_forgotten = True


def is_known(task):
    return Task.objects.filter(remote_id=task.upid).exists()


def gaps():
    return list(HistoryGap.objects.values_list("node__name", "since", "until"))


def entries():
    return AuditEntry.objects.filter(action="history.gap")


def test_a_day_without_the_portal_loses_nothing_that_the_node_still_has(remote, visit_once):
    run_tasks(remote, 5)
    visit_once()
    missed = run_tasks(remote, 700, began=remote.now + timedelta(minutes=1), apart=60)
    visit_once(seconds=DAY, forget=True)
    assert all(is_known(task) for task in missed)
    assert not gaps()


def test_what_was_dropped_while_nobody_read_is_a_gap(source, remote, visit_once):
    known = run_tasks(remote, 5, began=START - timedelta(minutes=5))
    visit_once()
    lost = run_tasks(remote, 400, began=START + timedelta(minutes=1))
    kept = run_tasks(remote, 700, began=START + timedelta(hours=2))
    drop(*known, *lost)
    visit_once(seconds=DAY, forget=True)
    assert gaps() == [("pve1", known[-1].started_at, kept[0].started_at)]
    entry = entries().get()
    assert (entry.actor_name, entry.source_name, entry.target_kind) == ("portal", source.name, "node")
    assert entry.data["since"] == known[-1].started_at.isoformat()
    assert all(is_known(task) for task in kept)


def test_a_gap_is_found_once(remote, visit_once):
    known = run_tasks(remote, 5)
    visit_once()
    run_tasks(remote, 700, began=START + timedelta(hours=2))
    drop(*known)
    for _ in range(3):
        visit_once(seconds=DAY, forget=True)
    assert len(gaps()) == entries().count() == 1


def test_each_gap_of_a_node_is_kept(remote, visit_once):
    known = run_tasks(remote, 5)
    visit_once()
    for day in range(2):
        drop(*known)
        known = run_tasks(remote, 700, began=START + timedelta(days=day, hours=2))
        visit_once(seconds=DAY, forget=True)
    assert len(gaps()) == entries().count() == 2


def test_a_pass_that_is_cut_off_after_finding_a_gap_finds_it_once(remote, visit_once):
    known = run_tasks(remote, 5)
    visit_once()
    run_tasks(remote, 700, began=START + timedelta(hours=2))
    drop(*known)
    plain = remote.fetch_node_tasks

    class Killed(Exception):
        pass

    def killed(node, **options):
        if node == "pve2":
            raise Killed
        return plain(node, **options)

    remote.fetch_node_tasks = killed
    with pytest.raises(Killed):
        visit_once(seconds=DAY, forget=True)
    assert not Task.objects.filter(started_at__gt=START + timedelta(hours=1)).exists()
    remote.fetch_node_tasks = plain
    visit_once(forget=True)
    assert len(gaps()) == entries().count() == 1


def test_a_node_that_simply_had_no_tasks_has_no_gap(remote, visit_once):
    run_tasks(remote, 3)
    visit_once()
    visit_once(seconds=30 * DAY, forget=True)
    run_tasks(remote, 2)
    visit_once(seconds=DAY, forget=True)
    assert not gaps()


def test_a_node_whose_first_task_runs_while_nobody_reads_has_no_gap(remote, visit_once):
    visit_once()
    run_tasks(remote, 300, began=START + timedelta(hours=3))
    visit_once(seconds=DAY, forget=True)
    assert Task.objects.count() == 300
    assert not gaps()


def test_a_long_list_of_a_node_that_had_none_may_have_lost_its_beginning(remote, visit_once):
    visit_once()
    first_read_at = Node.objects.get(name="pve1").first_synced_at
    run_tasks(remote, 700, began=START + timedelta(hours=3))
    visit_once(seconds=DAY, forget=True)
    assert gaps() == [("pve1", first_read_at, START + timedelta(hours=3))]


def test_a_rotation_that_took_only_what_was_read_is_no_gap(remote, visit_once):
    known = run_tasks(remote, 800, began=START - timedelta(hours=2))
    visit_once()
    drop(*known[:430])
    run_tasks(remote, 300, began=START + timedelta(hours=1))
    visit_once(seconds=DAY, forget=True)
    assert not gaps()


def test_a_task_that_ran_through_the_rotation_does_not_hide_the_gap(remote, visit_once):
    backup = remote.start("vzdump", started_at=START - timedelta(minutes=1))
    known = run_tasks(remote, 5, began=START - timedelta(minutes=5))
    visit_once()
    drop(*known, *run_tasks(remote, 400, began=START + timedelta(minutes=1)))
    remote.pass_time(3 * 3600)
    remote.end(backup)
    kept = run_tasks(remote, 700, began=START + timedelta(hours=4))
    visit_once(seconds=DAY, forget=True)
    assert Task.objects.get(remote_id=backup.upid).state == State.COMPLETED
    ((_, since, until),) = gaps()
    assert since == backup.started_at
    assert START < until <= kept[0].started_at


def test_a_list_that_was_emptied_is_a_gap_as_soon_as_it_has_a_task_again(remote, visit_once):
    known = run_tasks(remote, 5)
    visit_once()
    drop(*known)
    visit_once(seconds=DAY, forget=True)
    assert not gaps()
    again = run_tasks(remote, 1)
    visit_once(seconds=60, forget=True)
    assert gaps() == [("pve1", known[-1].started_at, again[0].started_at)]


def test_a_gap_shows_though_the_cluster_list_was_answered_before_the_node(remote, visit_once):
    known = run_tasks(remote, 5)
    visit_once()
    run_tasks(remote, 700, began=START + timedelta(hours=2))
    drop(*known)
    remote.down.add("pve1")
    visit_once(seconds=DAY, forget=True)
    assert Task.objects.count() == 5 + 25
    remote.down.clear()
    visit_once(seconds=30, forget=True)
    assert len(gaps()) == 1


def test_an_idle_source_is_not_asked_more_for_the_sake_of_gaps(remote, visit_once):
    run_tasks(remote, 5)
    visit_once()
    remote.log.clear()
    for _ in range(30):
        visit_once(seconds=11)
    asked = [entry[2] for entry in remote.log if entry[:2] == ("list", "pve1")]
    assert asked
    assert None not in asked


# clocks


@pytest.mark.parametrize("hours", [1, -1])
def test_a_node_whose_clock_is_wrong_loses_nothing_and_makes_no_gap(remote, visit_once, hours):
    skew = timedelta(hours=hours)
    first = run_tasks(remote, 20, began=remote.now + skew - timedelta(minutes=10), apart=20)
    visit_once()
    later = run_tasks(remote, 600, began=remote.now + skew + timedelta(minutes=5), apart=60)
    visit_once(seconds=DAY / 2, forget=True)
    last = run_tasks(remote, 40, began=remote.now + skew)
    visit_once(seconds=60)
    assert all(is_known(task) for task in [*first, *later, *last])
    assert not gaps()


def test_a_clock_that_is_put_right_loses_nothing(remote, visit_once):
    ahead = timedelta(hours=2)
    run_tasks(remote, 30, began=remote.now + ahead)
    visit_once()
    right = run_tasks(remote, 60, began=remote.now + timedelta(seconds=5))
    visit_once(seconds=120)
    assert all(is_known(task) for task in right)


def test_tasks_behind_the_cursor_are_found_within_an_hour(remote, visit_once):
    run_tasks(remote, 30, began=START - timedelta(minutes=1))
    visit_once()
    late = run_tasks(remote, 1, began=START - timedelta(days=2))
    visit_once(seconds=60)
    assert not is_known(late[0])
    visit_once(seconds=cadence.SWEEP.total_seconds())
    assert is_known(late[0])


# ends


def test_the_true_end_of_a_long_task_is_taken_though_newer_ones_were_read(remote, visit_once):
    task = remote.start("vzdump", started_at=START - timedelta(hours=5))
    visit_once()
    run_tasks(remote, 30)
    task.is_unlisted = True
    remote.end(task)
    true_end = task.ended_at
    visit_once(seconds=30)
    row = Task.objects.get(remote_id=task.upid)
    assert (row.state, row.raw["end_estimated"]) == (State.COMPLETED, True)
    task.is_unlisted = False
    visit_once(seconds=11)
    assert Task.objects.get(remote_id=task.upid).ended_at == true_end


def test_a_time_that_the_node_corrects_is_taken_once(remote, visit_once):
    task = run_tasks(remote, 1)[0]
    visit_once()
    task.ended_at += timedelta(seconds=9)
    visit_once(seconds=11)
    row = Task.objects.values().get()
    assert row["ended_at"] == task.ended_at
    visit_once(seconds=11)
    assert Task.objects.values().get() == row


# what a token sees


def test_while_the_token_sees_its_own_tasks_only_nothing_is_taken_for_read(source, remote, visit_once):
    run_tasks(remote, 3)
    visit_once()
    cursor = Node.objects.get(name="pve1").cursor
    remote.permissions = {"/": {"VM.Audit": True}}
    others = run_tasks(remote, 40, began=START + timedelta(minutes=5))
    drop(*others)
    own = run_tasks(remote, 2, began=START + timedelta(hours=1))
    visit_once(seconds=2 * 3600)
    visit_once(seconds=10)
    assert all(is_known(task) for task in own)
    assert Node.objects.get(name="pve1").cursor == cursor
    asked = [entry[2] for entry in remote.log if entry[:2] == ("list", "pve1")]
    assert asked[-1] > cursor, "own tasks are not read all over again each time"
    for task in others:
        task.is_forgotten = False
    remote.permissions = {"/": {"VM.Audit": True, "Sys.Audit": True}}
    Source.objects.update(permissions_at=START)
    visit_once(seconds=10)
    assert all(is_known(task) for task in others)
    assert not gaps()


def test_a_list_of_own_tasks_only_makes_no_gap(remote, visit_once):
    known = run_tasks(remote, 3)
    visit_once()
    remote.permissions = {"/": {"VM.Audit": True}}
    drop(*known)
    run_tasks(remote, 2)
    visit_once(seconds=DAY, forget=True)
    assert not gaps()


# nodes and pages


def test_a_node_that_is_down_does_not_hold_up_the_first_sync_and_is_read_when_it_is_back(remote, visit_once):
    old = run_tasks(remote, 60, node="pve2", began=START - timedelta(days=1))
    run_tasks(remote, 3)
    online, remote.fetch_nodes = remote.fetch_nodes, lambda: nodes(remote, off={"pve2"})
    remote.down.add("pve2")
    visit_once()
    visit_once(seconds=20)
    assert Source.objects.get().first_synced_at
    assert Node.objects.get(name="pve2").first_synced_at is None
    remote.fetch_nodes = online
    remote.down.clear()
    visit_once(seconds=20)
    visit_once()
    assert all(is_known(task) for task in old)
    assert not gaps()


def test_a_cluster_of_which_no_node_is_up_yet_is_not_synced(remote, visit_once):
    remote.fetch_nodes = lambda: nodes(remote, off={"pve1", "pve2", "pve3"})
    visit_once()
    assert Source.objects.get().first_synced_at is None


def nodes(remote, off):
    found = type(remote).fetch_nodes(remote)
    return [type(node)(node.name, node.name not in off, 1000, "") for node in found]


def test_a_remote_that_gives_fewer_rows_than_asked_is_read_to_the_end(remote, visit_once):
    made = run_tasks(remote, 300, began=START - timedelta(hours=1))
    plain = remote.fetch_node_tasks
    remote.fetch_node_tasks = lambda node, *, limit, **options: plain(node, limit=min(limit, 120), **options)
    visit_once()
    assert all(is_known(task) for task in made)


def test_a_list_of_which_only_a_part_was_read_moves_no_cursor(remote, visit_once):
    run_tasks(remote, 3)
    visit_once()
    before = Node.objects.get(name="pve1").cursor
    made = run_tasks(remote, 1200, began=START + timedelta(minutes=1), apart=0.1)
    asked = []

    def stops():
        asked.append(1)
        return len([entry for entry in remote.log if entry[0] == "list"]) > 4

    visit_once(seconds=600, should_stop=stops)
    assert Node.objects.get(name="pve1").cursor == before
    visit_once(seconds=60)
    assert all(is_known(task) for task in made)


# retention


def test_what_retention_has_removed_does_not_come_back(remote, visit_once):
    old = run_tasks(remote, 30, began=START - timedelta(days=40))
    new = run_tasks(remote, 10, began=START - timedelta(days=20))
    visit_once()
    RetentionPeriod.objects.create(family="start", days=30)
    Task.objects.filter(remote_id__in=[task.upid for task in old]).delete()
    visit_once(seconds=3600, forget=True)
    visit_once(seconds=3601)
    assert {task.upid for task in new} == set(Task.objects.values_list("remote_id", flat=True))
    assert not gaps()


def test_tasks_past_their_period_are_not_taken_at_the_first_sync_either(remote, visit_once):
    RetentionPeriod.objects.create(family="start", days=30)
    run_tasks(remote, 30, began=START - timedelta(days=40))
    clone = remote.start("qmclone", object_id="9000", started_at=START - timedelta(days=40))
    remote.end(clone)
    visit_once()
    assert list(Task.objects.values_list("remote_id", flat=True)) == [clone.upid]


def test_the_end_of_a_running_task_is_taken_however_old_it_is(remote, visit_once):
    RetentionPeriod.objects.create(family="start", days=1)
    task = remote.start(started_at=START - timedelta(days=3))
    visit_once()
    remote.end(task)
    visit_once(seconds=5 * DAY, forget=True)
    row = Task.objects.get(remote_id=task.upid)
    assert (row.state, row.ended_at) == (State.COMPLETED, task.ended_at)
