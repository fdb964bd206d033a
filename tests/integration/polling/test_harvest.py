"""The harvest against the demo cluster, which rotates its lists as nodes do: over HTTPS, pass by pass."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from tasks_app.connections import client_of, seal
from tasks_app.ingest.logs import read_lines
from tasks_app.models import AuditEntry, HistoryGap, LogChunk, Node, Role, Source, Task, TaskEvent, TaskTally
from tasks_app.polling.memory import Memory
from tasks_app.polling.passes import run_pass
from tasks_app.polling.visit import Visit
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.states import State
from tests.factories import make_user

NODES = ("pve1", "pve2", "pve3")
DAY = 86_400.0


@pytest.fixture
def visit(source):
    """One pass `ago` seconds ago; each by a process of its own unless it is told to `remember`."""
    memories = [Memory()]

    def once(*, ago: float = 0.0, remember: bool = False) -> None:
        if not remember:
            memories.append(Memory())
        at = now() - timedelta(seconds=ago)
        fresh = Source.objects.get(pk=source.pk)
        with client_of(fresh) as client:
            run_pass(Visit(fresh, client, memories[-1], clock=lambda: at, sleep=lambda _: None))

    return once


def run_tasks(cluster, count, *, ago, within, node="pve1", seconds=0.2):
    """`count` tasks of one node that began from `ago` seconds ago on, spread over `within` seconds. Their UPIDs."""
    began = time.time() - ago
    made = [
        cluster.start_task(
            node=node, id=str(100_000 + n), seconds=seconds, started=began + n * within / count
        )
        for n in range(count)
    ]
    assert cluster.tasks
    return made


def listed(cluster, node="pve1"):
    """UPIDs of the ended tasks that the node still shows."""
    with cluster.cluster.lock:
        return {task.name for task in cluster.cluster.nodes[node].finished()}


def known(upids):
    upids = list(upids)
    found = set()
    for first in range(0, len(upids), 500):
        rows = Task.objects.filter(remote_id__in=upids[first : first + 500])
        found |= set(rows.values_list("remote_id", flat=True))
    return found


def start_of(upid):
    return datetime.fromtimestamp(int(upid.split(":")[4], 16), UTC)


def test_the_first_sync_takes_all_that_the_nodes_still_have(cluster, source, visit):
    for node in NODES:
        run_tasks(cluster, 900, ago=DAY, within=DAY / 2, node=node)
    running = cluster.start_task(seconds=600.0)
    visit()
    still = {upid for node in NODES for upid in listed(cluster, node)} | {running}
    assert len(still) > 1200, "more than a page of each"
    assert known(still) == still
    assert Task.objects.count() == len(still)
    assert Source.objects.get().first_synced_at
    starts = list(Task.objects.order_by("pk").values_list("started_at", flat=True))
    assert starts == sorted(starts)


def test_nothing_is_missed_over_many_rotations_that_the_portal_follows(cluster, source, visit):
    visit(ago=3 * DAY)
    made, rounds, span = [], 8, 6 * 3600.0
    for number in range(rounds):
        ago = 2 * DAY - number * span
        made += run_tasks(cluster, 400, ago=ago, within=span * 0.9)
        visit(ago=ago - span * 0.95)
    assert len(listed(cluster)) < len(made) / 2, "the node has dropped most of them"
    assert known(made) == set(made)
    assert Task.objects.count() == len(made)
    assert not HistoryGap.objects.exists()


def test_a_day_without_the_portal_is_made_good(cluster, source, visit):
    before = run_tasks(cluster, 200, ago=2 * DAY, within=3600)
    visit(ago=1.5 * DAY)
    missed = run_tasks(cluster, 700, ago=DAY, within=DAY * 0.9)
    visit()
    assert known(before + missed) == {*before, *missed}
    assert not HistoryGap.objects.exists()


def test_what_a_node_dropped_meanwhile_is_a_gap_once_and_for_that_node_only(cluster, source, visit):
    before = run_tasks(cluster, 200, ago=2 * DAY, within=3600)
    quiet = run_tasks(cluster, 5, ago=2 * DAY, within=3600, node="pve2")
    visit(ago=1.5 * DAY)
    missed = run_tasks(cluster, 2500, ago=DAY, within=DAY * 0.9)
    late = run_tasks(cluster, 5, ago=3600, within=60, node="pve2")
    visit()
    visit()
    still = listed(cluster)
    assert still < set(missed), "index and index.1 hold later ones only"
    assert known(still | {*quiet, *late}) == still | {*quiet, *late}
    gap = HistoryGap.objects.get()
    assert gap.node.name == "pve1"
    assert gap.since == max(map(start_of, before))
    assert abs(gap.until - min(map(start_of, still))) < timedelta(seconds=60)
    assert all(gap.since < start_of(upid) <= gap.until for upid in set(missed) - still)
    entry = AuditEntry.objects.get(action="history.gap")
    assert (entry.actor_name, entry.target_name) == ("portal", "demo pve1")
    client = Client()
    client.force_login(make_user(Role.VIEWER))
    assert "tasks may be missing" in client.get(f"/sources/{source.pk}/").text


def test_two_nodes_with_the_same_pid_and_start_are_two_tasks(cluster, source, visit):
    at = time.time() - 60
    upids = [cluster.start_task(node=node, pid=4711, started=at, seconds=1.0) for node in NODES]
    assert len({upid.partition(":pve")[2][1:] for upid in upids}) == 1, "nothing but the node differs"
    visit()
    assert set(Task.objects.values_list("remote_id", "node")) == set(zip(upids, NODES, strict=True))


@pytest.mark.parametrize("hours", [2, -2], ids=["ahead", "behind"])
def test_a_node_whose_clock_is_wrong_is_read_like_any_other(cluster, source, visit, hours):
    cluster.fault("clock_skew", value=hours * 3600.0, subject="pve2")
    first = run_tasks(cluster, 100, ago=DAY, within=3600, node="pve2")
    visit(ago=DAY / 2)
    missed = run_tasks(cluster, 600, ago=DAY / 3, within=DAY / 4, node="pve2")
    visit()
    running = cluster.start_task(node="pve2", seconds=0.5)
    visit()
    time.sleep(0.6)
    visit(remember=True)
    assert known([*first, *missed, running]) == {*first, *missed, running}
    task = Task.objects.get(remote_id=running)
    assert task.state == State.COMPLETED
    assert task.started_at <= task.ended_at < task.started_at + timedelta(seconds=5)
    assert abs(task.started_at - now() - timedelta(hours=hours)) < timedelta(minutes=1)
    assert not HistoryGap.objects.exists()


def test_a_node_that_was_down_at_the_first_sync_is_read_when_it_is_back(cluster, source, visit):
    theirs = run_tasks(cluster, 120, ago=DAY, within=3600, node="pve2")
    ours = run_tasks(cluster, 20, ago=DAY, within=3600)
    cluster.fault("node_offline", subject="pve2")
    visit()
    assert known(ours + theirs) == set(ours)
    assert Source.objects.get().first_synced_at, "one node that is down holds nobody up"
    assert not Node.objects.get(name="pve2").first_synced_at
    cluster.clear_faults()
    visit()
    visit(remember=True)
    assert known(theirs) == set(theirs)
    assert Node.objects.get(name="pve2").first_synced_at
    assert not HistoryGap.objects.exists()


def test_a_task_that_began_before_the_cursor_and_ended_while_nobody_read(cluster, source, visit):
    backup = cluster.start_task(type="vzdump", id="105", seconds=20 * 3600.0, started=time.time() - 1.4 * DAY)
    run_tasks(cluster, 50, ago=1.3 * DAY, within=3600)
    visit(ago=1.2 * DAY)
    run_tasks(cluster, 400, ago=DAY, within=DAY * 0.9)
    visit()
    task = Task.objects.get(remote_id=backup)
    assert (task.state, task.exit_text) == (State.COMPLETED, "OK")
    assert task.ended_at == datetime.fromtimestamp(int(cluster.tasks[backup].ended), UTC)


def test_a_second_harvest_writes_nothing(cluster, source, visit):
    for node in NODES:
        run_tasks(cluster, 300, ago=DAY, within=3600, node=node)
    visit()

    def everything():
        volatile = {
            "log_total",
            "changed_at",
            "is_indexed",
            "tracker_state",
            "percent",
            "error_line",
            "search_text",
        }
        tasks = [
            {name: value for name, value in row.items() if name not in volatile}
            for row in Task.objects.order_by("pk").values()
        ]
        tally = list(TaskTally.objects.order_by("pk").values())
        told = TaskEvent.objects.exclude(kind=TaskEvent.Kind.LOG).count()
        return tasks, tally, told, list(Node.objects.order_by("pk").values_list("name", "cursor"))

    before = everything()
    visit()
    visit(remember=True)
    assert everything() == before


def test_the_log_is_still_here_when_the_node_has_dropped_it(cluster, source, visit):
    lines = [(0.0, "creating a clone of VM 9000 with ID 303"), (0.1, "drive mirror of a zebra disk")]
    upid = cluster.start_task(type="qmclone", id="9000", lines=lines, started=time.time() - 60)
    assert cluster.tasks
    visit()
    run_tasks(cluster, 4000, ago=50, within=40, seconds=0.01)
    assert upid not in cluster.tasks, "list and log are gone"
    task = Task.objects.get(remote_id=upid)
    assert [text for _, text in read_lines(task, 0, 100)] == [text for _, text in lines] + ["TASK OK"]
    assert LogChunk.objects.filter(log__task=task).exists()
    assert task.log.is_complete
    assert [found.pk for found in HistoryFilters(text="303").apply(Task.objects.all())] == [task.pk]


# a token that may not see tasks


@pytest.fixture
def blind_source(cluster, source):
    """As the pveum block makes it, but with a view role that lacks Sys.Audit."""
    secret = cluster.add_token("portal2@pve", "web", {"/": ["PVEAuditorless"], "/pool/portal": ["PortalVM"]})
    Source.objects.filter(pk=source.pk).update(token_id="portal2@pve!web", token_secret_sealed=seal(secret))
    return source


@pytest.fixture
def role_without_audit():
    from demo.proxmox import access

    roles = access.ROLES
    roles["PVEAuditorless"] = frozenset({"VM.Audit", "Datastore.Audit", "Pool.Audit"})
    yield
    del roles["PVEAuditorless"]


def test_an_empty_list_is_told_as_no_permission_and_the_command_cures_it(
    cluster, role_without_audit, blind_source, visit
):
    upids = run_tasks(cluster, 30, ago=DAY, within=3600)
    visit()
    assert Task.objects.count() == 0
    client = Client()
    client.force_login(make_user(Role.ADMIN))
    for address in ("/tasks/", f"/tasks/?source={blind_source.pk}", f"/sources/{blind_source.pk}/"):
        page = client.get(address).text
        assert "lacks <code>Sys.Audit</code> on <code>/</code>" in page, address
        assert "pveum acl modify / --tokens" in page, address
    commands = re.search(r'<pre id="cure-\d+"[^>]*>(.*?)</pre>', page, re.DOTALL)
    run_as_root(cluster, commands[1].replace("&#x27;", "'").replace("&quot;", '"'))
    assert client.post(f"/sources/{blind_source.pk}/check").status_code == 302
    visit()
    assert known(upids) == set(upids)
    assert "No permission" not in client.get(f"/sources/{blind_source.pk}/").text
    assert not HistoryGap.objects.exists()


def run_as_root(cluster, commands):
    """The `pveum acl modify` lines of a cure; the roles they name are the demo's."""
    found = re.findall(r"pveum acl modify (\S+) --(?:users|tokens) '?([^\s']+)'? --roles (\S+)", commands)
    assert len(found) == 2
    with cluster.cluster.lock:
        for path, who, role in found:
            cluster.cluster.access.grant(who, path, role)
