"""Task lists, logs and stops of the demo cluster have the habits of the real ones."""

import time
from collections.abc import Iterator

import pytest

from demo.proxmox import DemoCluster
from demo.proxmox.tasks import INDEX_LIMIT
from tests.integration.demo.client import Client, portal


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster(time_scale=0.01) as demo:
        yield demo


@pytest.fixture
def me(cluster: DemoCluster) -> Client:
    return portal(cluster)


def upids(rows: list[dict[str, object]]) -> list[object]:
    return [row["upid"] for row in rows]


def test_running_tasks_stand_before_finished_ones(cluster: DemoCluster, me: Client) -> None:
    running = cluster.start_task(type="qmclone", seconds=10_000, started=time.time() - 50)
    done = cluster.start_task(type="qmstart")
    rows = me.get("/cluster/tasks").data
    assert upids(rows) == [running, done]
    assert rows[0]["saved"] == "0" and "endtime" not in rows[0] and "pid" in rows[0]
    assert rows[1]["status"] == "OK" and "pid" not in rows[1]


def test_cluster_list_shows_25_tasks_of_a_node(cluster: DemoCluster, me: Client) -> None:
    for _ in range(40):
        cluster.start_task(node="pve2")
    cluster.start_task(node="pve3")
    assert len(me.get("/cluster/tasks").data) == 26


def test_cluster_list_is_cut_at_32_kib_of_a_node(cluster: DemoCluster, me: Client) -> None:
    for _ in range(30):
        cluster.start_task(end="E" + "x" * 3000)
    assert len(me.get("/cluster/tasks").data) == 10


def test_token_without_audit_on_root_sees_an_empty_cluster_list(cluster: DemoCluster, me: Client) -> None:
    cluster.start_task(seconds=10_000, user=cluster.token_id)
    assert len(me.get("/cluster/tasks").data) == 1
    cluster.fault("no_sys_audit")
    assert me.get("/cluster/tasks").data == []
    assert len(me.get("/nodes/pve1/tasks", source="all").data) == 1


def test_archive_has_newest_completion_first(cluster: DemoCluster, me: Client) -> None:
    now = time.time()
    long = cluster.start_task(started=now - 60, seconds=5_900)
    short = cluster.start_task(started=now - 50, seconds=100)
    assert upids(me.get("/nodes/pve1/tasks").data) == [long, short]


def test_since_and_until_are_inclusive_on_the_start(cluster: DemoCluster, me: Client) -> None:
    second = int(time.time()) - 100
    upid = cluster.start_task(started=float(second))
    assert upids(me.get("/nodes/pve1/tasks", since=second, until=second).data) == [upid]
    assert me.get("/nodes/pve1/tasks", since=second + 1).body == {"data": []}


def test_limit_zero_gives_no_rows_but_the_total(cluster: DemoCluster, me: Client) -> None:
    cluster.start_task()
    assert me.get("/nodes/pve1/tasks", limit=0).body == {"data": [], "total": 1}


def test_sources_split_the_user_differently(cluster: DemoCluster, me: Client) -> None:
    cluster.start_task(user="ops@pve!ci", seconds=10_000)
    cluster.start_task(user="ops@pve!ci")
    running, finished = me.get("/nodes/pve1/tasks", source="all").data
    assert (running["user"], running["status"]) == ("ops@pve!ci", "RUNNING")
    assert (finished["user"], finished["tokenid"]) == ("ops@pve", "ci")


def test_filters_choose_by_type_user_guest_and_status(cluster: DemoCluster, me: Client) -> None:
    failed = cluster.start_task(type="vzdump", id="101", user="ops@pve", end="job errors")
    warned = cluster.start_task(type="qmstart", id="102", user="low@pve", end="WARNINGS: 2")
    lost = cluster.start_task(type="qmstart", id="102", user="low@pve", end="unexpected status")

    def ask(**query: object) -> set[object]:
        return set(upids(me.get("/nodes/pve1/tasks", **query).data))

    assert ask(typefilter="vzdump") == {failed}
    assert ask(userfilter="LOW") == {warned, lost}
    assert ask(vmid=101) == {failed}
    assert ask(statusfilter="warning") == {warned}
    assert ask(statusfilter="unknown,error") == {failed, lost}
    assert ask(errors=1, statusfilter="ok") == {failed, warned, lost}


def test_index_forgets_as_a_node_does(cluster: DemoCluster, me: Client) -> None:
    for _ in range(3000):
        cluster.start_task(type="bulkok", user="ops@pve")
    total = me.get("/nodes/pve1/tasks", limit=1).body["total"]
    per_file = (
        INDEX_LIMIT // len("UPID:pve1:00000290:0004DCFB:6B0007F5:bulkok:100:ops@pve: 6B0007F5 OK\n") + 1
    )
    assert total == per_file + 3000 % per_file


def test_log_pages_like_the_real_one(cluster: DemoCluster, me: Client) -> None:
    upid = cluster.start_task(lines=[(0, f"line {number}") for number in range(1, 81)])
    assert len(me.log(upid)["data"]) == 50
    assert len(me.log(upid, limit=0)["data"]) == 81
    assert me.log(upid, start=81, limit=500) == {"data": [], "total": 81}
    assert me.log(upid, start=80)["data"] == [{"n": 81, "t": "TASK OK"}]


def test_silent_task_has_one_false_line(cluster: DemoCluster, me: Client) -> None:
    upid = cluster.start_task(seconds=10_000)
    assert me.log(upid) == {"data": [{"n": 1, "t": "no content"}], "total": 1}


def test_log_text_is_encoded_twice(cluster: DemoCluster, me: Client) -> None:
    upid = cluster.start_task(lines=[(0, "umlaut äöü"), (0, "cr 10%\rcr 50% \x1b[31m nul [\x00]")])
    texts = me.texts(upid)
    assert texts[0] == "umlaut Ã¤Ã¶Ã¼"
    assert texts[0].encode("latin-1").decode() == "umlaut äöü"
    assert texts[1] == "cr 10%\rcr 50% \x1b[31m nul [\x00]"


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("OK", "TASK OK"),
        ("WARNINGS: 2", "TASK WARNINGS: 2"),
        ("broken", "TASK ERROR: broken"),
        ("unexpected status", "x"),
    ],
)
def test_last_line_says_the_exit_status(cluster: DemoCluster, me: Client, end: str, last: str) -> None:
    upid = cluster.start_task(lines=[(0, "x")], end=end)
    assert me.texts(upid)[-1] == last
    assert me.status(upid)["exitstatus"] == end


def test_stop_blocks_until_the_worker_is_gone(cluster: DemoCluster, me: Client) -> None:
    cluster.cluster.scale = 0.2
    upid = cluster.start_task(lines=[(0, "working")], seconds=10_000)
    begin = time.monotonic()
    assert me.stop(upid).status == 200
    assert 0.15 < time.monotonic() - begin < 2
    assert me.status(upid)["exitstatus"] == "received interrupt"
    assert me.texts(upid) == ["working", "TASK ERROR: received interrupt"]
    assert me.stop(upid).status == 200


def test_task_that_ignores_the_stop_has_no_terminal_line(cluster: DemoCluster, me: Client) -> None:
    upid = cluster.start_task(lines=[(0, "deaf")], seconds=10_000, ignores_stop=True)
    me.stop(upid)
    assert me.status(upid)["exitstatus"] == "unexpected status"
    assert me.texts(upid) == ["deaf"]


def test_stranger_may_neither_read_nor_stop(cluster: DemoCluster) -> None:
    upid = cluster.start_task(seconds=10_000)
    stranger = Client(cluster, ("low@pve!t", cluster.add_token("low@pve", "t", {})))
    answer = stranger.stop(upid)
    assert (answer.status, answer.reason) == (403, "Permission check failed (/nodes/pve1, Sys.Modify)")
    assert stranger.get(f"/nodes/pve1/tasks/{upid}/status").reason.endswith("(/nodes/pve1, Sys.Audit)")
    assert stranger.get("/nodes/pve1/tasks", source="all").body == {"data": []}


def test_2000_simulated_tasks_cost_nothing(cluster: DemoCluster, me: Client) -> None:
    begin = time.monotonic()
    names = cluster.start_load(2000, 1.5)
    assert time.monotonic() - begin < 3
    rows = me.get("/cluster/tasks").data
    assert 300 < len(rows) < 700 and all("pid" in row for row in rows)
    log = me.texts(names[0])
    assert log[0].startswith("creating a clone") and log[-1].startswith("transferred")
    time.sleep(1.6)
    assert me.status(names[1999])["exitstatus"] == "OK"
    assert me.texts(names[0])[-2:] == ["transferred 32.0 GiB of 32.0 GiB (100.00%)", "TASK OK"]
    assert len(me.get("/cluster/tasks").data) == 75
