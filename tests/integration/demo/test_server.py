"""The demo cluster as a process and as a network peer: certificate, sign-in, faults, restarts, a clean end."""

import hashlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from demo.proxmox import DemoCluster
from tests.integration.demo.client import Client, portal, wait_until


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster(time_scale=0.02) as demo:
        yield demo


@pytest.fixture
def me(cluster: DemoCluster) -> Client:
    return portal(cluster)


def served_fingerprint(url: str) -> str:
    parts = urlsplit(url)
    pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 0))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def test_fingerprint_is_that_of_the_served_certificate(cluster: DemoCluster) -> None:
    old = cluster.fingerprint
    assert served_fingerprint(cluster.url) == old
    new = cluster.change_certificate()
    assert new != old
    assert served_fingerprint(cluster.url) == new


def test_refusal_of_credentials_takes_three_scaled_seconds(cluster: DemoCluster) -> None:
    cluster.cluster.scale = 0.1
    begin = time.monotonic()
    answer = Client(cluster, (cluster.token_id, "wrong")).get("/version")
    assert (answer.status, answer.reason, answer.text) == (401, "Authentication failed!", "")
    assert 0.25 < time.monotonic() - begin < 2


def test_ticket_needs_the_csrf_token_to_write(cluster: DemoCluster) -> None:
    cluster.add_user("ops@pve", "secret-word", "PVEAdmin")
    client = Client(cluster).login("ops@pve", "secret-word")
    assert client.get("/nodes/pve1/qemu/100/config").status == 200
    del client.headers["CSRFPreventionToken"]
    answer = client.post("/nodes/pve1/qemu/100/status/start")
    assert (answer.status, answer.reason, answer.text) == (401, "Permission denied - invalid csrf token", "")


def test_bodies_where_none_belong_are_refused(me: Client) -> None:
    assert me.ask("GET", "/version", body=b"a=1").reason == "Unexpected content for method 'GET'"
    chunked = me.ask("POST", "/access/ticket", body=b"", headers={"Transfer-Encoding": "chunked"})
    assert (chunked.status, chunked.reason) == (501, "chunked transfer encoding not supported")


def test_offline_node_answers_595_and_its_tasks_vanish(cluster: DemoCluster, me: Client) -> None:
    upid = cluster.start_task(node="pve3", seconds=10_000)
    cluster.fault("node_offline", subject="pve3")
    answer = me.get("/nodes/pve3/tasks")
    assert (answer.status, answer.text) == (595, "")
    assert me.get("/cluster/tasks").data == []
    rows = me.get("/cluster/resources", type="node").data
    assert {row["node"]: row["status"] for row in rows} == {
        "pve1": "online",
        "pve2": "online",
        "pve3": "offline",
    }
    cluster.clear_faults()
    assert me.status(upid)["status"] == "running"


def test_faults_spoil_answers_on_demand(cluster: DemoCluster, me: Client) -> None:
    cluster.fault("status", value=502, text="bad", path="/version", times=1)
    assert me.get("/version").status == 502
    assert me.get("/version").status == 200
    cluster.fault("garbage", times=1)
    with pytest.raises(ValueError):
        _ = me.get("/version").body
    cluster.fault("huge", value=200_000, times=1)
    assert len(me.get("/version").text) > 200_000
    cluster.fault("drop", times=1)
    with pytest.raises((RemoteDisconnected, ConnectionError, ssl.SSLError)):
        me.get("/version")
    cluster.fault("unreachable", path="/nodes/*/tasks/*", times=1)
    assert me.get("/nodes/pve1/tasks/UPID:x/status").status == 595
    cluster.fault("latency", value=0.2, times=1)
    begin = time.monotonic()
    assert me.get("/version").status == 200
    assert time.monotonic() - begin > 0.2


def test_conditions_hold_until_cleared(cluster: DemoCluster, me: Client) -> None:
    cluster.fault("clock_skew", value=-7200)
    date = dict(me.get("/version").headers)["Date"]
    assert abs(ssl.cert_time_to_seconds(_cert_time(date)) + 7200 - time.time()) < 5
    cluster.fault("no_quorum")
    assert (
        me.post("/nodes/pve1/qemu/9000/clone", newid=400, pool="portal").reason
        == "cluster not ready - no quorum?"
    )
    cluster.fault("token_revoked", subject=cluster.token_id)
    assert me.get("/version").status == 401
    cluster.clear_faults()
    assert me.get("/version").status == 200


def _cert_time(date: str) -> str:
    """`Fri, 20 Nov 2026 08:38:45 GMT` in the order in which certificates write it."""
    _, day, month, year, clock, _ = date.split()
    return f"{month} {day} {clock} {year} GMT"


def test_second_address_serves_the_same_cluster(cluster: DemoCluster, me: Client) -> None:
    first, second = cluster.url, cluster.add_address()
    upid = cluster.start_task()
    cluster.close_address(first)
    assert cluster.url == second
    assert me.status(upid)["exitstatus"] == "OK"


def test_control_calls_want_a_secret(cluster: DemoCluster, me: Client) -> None:
    assert Client(cluster).get("/demo/stats").status in (401, 403, 404, 501)
    assert Client(cluster).ask("GET", "/demo/stats").status == 403
    body = json.dumps({"count": 5, "seconds": 30, "moving": True}).encode()
    answer = me.ask("POST", "/demo/tasks", body=body, headers={"Content-Type": "application/json"})
    assert len(answer.data) == 5
    assert me.ask("POST", "/demo/faults", {"kind": "no_quorum"}).status == 200
    assert me.ask("GET", "/demo/faults").data[0]["kind"] == "no_quorum"
    assert me.ask("DELETE", "/demo/faults").status == 200
    stats = me.ask("GET", "/demo/stats").data
    assert stats["running"] == 5 and stats["requests"]["POST /demo/tasks"] == 1


# as a process


def start_process(folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "demo.proxmox",
        "--port",
        "0",
        "--state-dir",
        str(folder),
        "--quiet",
        *options,
    ]
    return subprocess.Popen(command, cwd=Path(__file__).parents[3], env=os.environ)


def connection_of(folder: Path) -> dict[str, str]:
    path = folder / "connection.json"
    wait_until(path.exists, 20)
    return json.loads(path.read_text())


class Served:
    """What a `Client` needs of a cluster in another process."""

    def __init__(self, connection: dict[str, str]) -> None:
        self.url = connection["url"]


def client_of(connection: dict[str, str]) -> Client:
    return Client(Served(connection), (connection["token_id"], connection["token_secret"]))  # type: ignore[arg-type]


def test_history_token_and_certificate_survive_a_kill(tmp_path: Path) -> None:
    process = start_process(tmp_path, "--no-life", "--time-scale", "1")
    try:
        before = connection_of(tmp_path)
        me = client_of(before)
        past = me.get("/nodes/pve1/tasks", limit=500).body
        assert past["total"] > 60
        upid = me.post("/nodes/pve1/qemu/9000/clone", newid=400, full=1, pool="portal", bwlimit=100_000).data
        wait_until(lambda: len(me.texts(upid)) > 8)
    finally:
        process.kill()
        process.wait(10)
    (tmp_path / "connection.json").unlink()
    process = start_process(tmp_path, "--no-life")
    try:
        after = connection_of(tmp_path)
        assert {**after, "url": ""} == {**before, "url": ""}
        me = client_of(after)
        assert me.status(upid)["exitstatus"] == "unexpected status"
        assert me.texts(upid)[-1].startswith("transferred")
        assert me.get("/nodes/pve1/qemu/400/config").data["lock"] == "clone"
        rows = me.get("/nodes/pve1/tasks", limit=500).body
        assert rows["total"] == past["total"] + 1
        assert rows["data"][1:] == past["data"]
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_ends_within_a_second_and_keeps_its_files_private(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start_process(tmp_path)
        connection = connection_of(tmp_path)
        assert client_of(connection).get("/version").status == 200
        begin = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - begin < 1.5
        (tmp_path / "connection.json").rename(tmp_path / "old.json")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_life_keeps_bars_moving() -> None:
    with DemoCluster(time_scale=0.05, life=True, past=True, seed=3) as cluster:
        me = portal(cluster)
        seen: set[str] = set()

        def look() -> bool:
            rows = me.get("/cluster/tasks").data
            seen.update(row["type"] for row in rows if "endtime" not in row)
            return len(seen) >= 3

        wait_until(look, 30)
        total = sum(me.get(f"/nodes/pve{n}/tasks", limit=1).body["total"] for n in (1, 2, 3))
        assert total >= 280
        failed = sum(me.get(f"/nodes/pve{n}/tasks", limit=1, errors=1).body["total"] for n in (1, 2, 3))
        assert 10 < failed < total / 2
