"""The first harvest of a cluster, whole path: ask, parse, write, tally, move cursors; and one that finds nothing new.

Over HTTPS against a demo cluster in a process of its own, whose three nodes hold as much as nodes keep; and for a large
cluster with answers that are prepared as JSON, so that the demo's own speed does not count. With PORTAL_DATABASE_URL on
that server, else in SQLite.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

from bench.databases import throw_away_database
from bench.tables import print_goals, print_table
from demo.proxmox import DemoCluster
from demo.proxmox.inventory import NODES

ROWS_A_NODE = 1_200  # about what two files of 50,000 bytes hold
LEAST_ROWS_PER_SECOND = 5_000
TYPES = ("qmstart", "qmshutdown", "qmclone", "vzdump", "qmsnapshot", "vncproxy", "qmigrate")
USERS = ("root@pam", "alice@pve", "bob@pve", "portal@pve!web", "automation@pve!ci")


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench harvest", description=__doc__)
    parser.add_argument("--nodes", type=int, default=24, help="nodes of the large cluster (24)")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = []
    rates: list[float] = []
    with throw_away_database() as database:
        with _demo() as connection:
            rows.append(_measure("demo cluster, HTTPS", lambda: _client(connection), rates))
        large = PreparedCluster(options.nodes)
        rows.append(_measure(f"{options.nodes} nodes, prepared JSON", lambda: large, rates))
    head = ("first harvest", "rows", "seconds", "rows/s", "again, s", "written again")
    print_table(f"Harvest into {database}", head, rows)
    goals = [
        (f"1,000 tasks, {row[0]}", 1000.0 / rate, 1000.0 / LEAST_ROWS_PER_SECOND, "s")
        for row, rate in zip(rows, rates, strict=True)
    ]
    return print_goals(goals)


def _measure(words: str, open_remote: Callable[[], Any], rates: list[float]) -> tuple[str, ...]:
    """A source of its own, two passes by two processes' memories."""
    from tasks_app.models import Source, Task, TaskEvent
    from tasks_app.polling.memory import Memory
    from tasks_app.polling.passes import run_pass
    from tasks_app.polling.visit import Visit

    source, took, events = Source.objects.create(name=words, urls=["https://127.0.0.1:1"]), [], []
    for _ in range(2):
        remote = open_remote()
        fresh = Source.objects.get(pk=source.pk)
        began = time.perf_counter()
        run_pass(Visit(fresh, remote, Memory()))
        took.append(time.perf_counter() - began)
        events.append(TaskEvent.objects.filter(source_id=source.pk).exclude(kind=TaskEvent.Kind.LOG).count())
    count = Task.objects.filter(source=source).count()
    rates.append(count / took[0])
    figures = (
        f"{count:,}",
        f"{took[0]:.2f}",
        f"{rates[-1]:,.0f}",
        f"{took[1]:.2f}",
        str(events[1] - events[0]),
    )
    return (words, *figures)


def _client(connection: dict[str, str]) -> Any:
    from tasks_app.sources.proxmox import Connection, ProxmoxSource

    return ProxmoxSource(
        Connection(
            "bench",
            (connection["url"],),
            (connection["fingerprint"],),
            "",
            connection["token_id"],
            connection["token_secret"],
        )
    )


@contextmanager
def _demo() -> Iterator[dict[str, str]]:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield pipe.recv()
    finally:
        pipe.close()
        process.join(10)
        if process.is_alive():
            process.kill()


def _serve(pipe: Pipe) -> None:
    with DemoCluster(life=False) as demo:
        began = time.time() - 86_400
        for number in range(ROWS_A_NODE * len(NODES)):
            demo.start_task(
                type=TYPES[number % len(TYPES)],
                id=str(100 + number % 900),
                user=USERS[number % len(USERS)],
                node=list(NODES)[number % len(NODES)],
                started=began + number * 10.0,
                seconds=5.0,
            )
        names = ("url", "fingerprint", "token_id", "token_secret")
        pipe.send({name: getattr(demo, name) for name in names})
        try:
            pipe.recv()
        except EOFError:
            return


class PreparedCluster:
    """Answers like a client, out of JSON texts: parsing is measured, the wire and the node's own work are not."""

    latency_seconds = 0.01

    def __init__(self, nodes: int) -> None:
        self._nodes = [f"node{number:02}" for number in range(nodes)]
        began = int(time.time()) - 86_400
        self._rows = {node: _rows(node, began) for node in self._nodes}
        self._pages: dict[tuple[str, int, int], str] = {}
        for node, rows in self._rows.items():
            for start in range(0, ROWS_A_NODE, 450):
                self._pages[(node, start, 500)] = json.dumps({"data": rows[start : start + 500]})

    def fetch_version(self) -> Any:
        from tasks_app.sources.proxmox import Version

        return Version("9.2.11", "9.2", 9)

    def fetch_permissions(self) -> Any:
        from tasks_app.sources.proxmox import Permissions

        return Permissions({"/": {"Sys.Audit": True, "VM.Audit": True}})

    def fetch_nodes(self) -> Any:
        from tasks_app.sources.proxmox import Node

        return [Node(name, True, 1000, "") for name in self._nodes]

    def fetch_resources(self, kind: str | None = None) -> Any:
        return []

    def fetch_cluster_tasks(self) -> Any:
        from tasks_app.sources.proxmox.tasks import parse_task_rows

        return parse_task_rows([row for rows in self._rows.values() for row in rows[:25]])

    def fetch_node_tasks(
        self, node: str, *, since: int | None, start: int = 0, limit: int = 500, source: str = "all"
    ) -> Any:
        from tasks_app.sources.proxmox import NodeTasks
        from tasks_app.sources.proxmox.tasks import parse_task_rows

        if since is not None:
            return NodeTasks([], 0, 0)
        rows = json.loads(self._pages[(node, start, limit)])["data"]
        return NodeTasks(parse_task_rows(rows), ROWS_A_NODE, len(rows))

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> Any:
        from tasks_app.sources.base import LogPage, RemoteLogLine

        return LogPage((RemoteLogLine(1, "TASK OK"),) if not after else (), 1)


def _rows(node: str, began: int) -> list[dict[str, Any]]:
    """Newest completion first, as `GET /nodes/{node}/tasks` has them; one in twenty failed."""
    rows: list[dict[str, Any]] = []
    for number in range(ROWS_A_NODE):
        start, user, type = began + number * 60, USERS[number % len(USERS)], TYPES[number % len(TYPES)]
        status = "OK" if number % 20 else "start failed: QEMU exited with code 1"
        name, _, token = user.partition("!")
        upid = f"UPID:{node}:{number:08X}:{number:08X}:{start:08X}:{type}:{100 + number % 900}:{user}:"
        row = {"upid": upid, "node": node, "pid": number, "pstart": number, "starttime": start, "type": type}
        row |= {"id": str(100 + number % 900), "user": name, "endtime": start + 30, "status": status}
        rows.append(row | ({"tokenid": token} if token else {}))
    return rows[::-1]
