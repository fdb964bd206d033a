"""A scripted remote: a small cluster in memory that answers like Proxmox, with a clock that tests move."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.sources.base import LogPage, RemoteLogLine, TaskObservation
from tasks_app.sources.errors import SourceError, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Node, NodeTasks, Permissions, Resource, Version

START = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
SLOTS = 25


@dataclass
class RemoteTask:
    upid: str
    node: str
    type: str
    object_id: str
    user: str
    started_at: datetime
    lines: list[str] = field(default_factory=list)
    ended_at: datetime | None = None
    exit_text: str = ""
    is_forgotten: bool = False
    is_unlisted: bool = False

    def observation(self, *, with_end: bool = True) -> TaskObservation:
        is_over = self.ended_at is not None
        return TaskObservation(
            remote_id=self.upid,
            node=self.node,
            type=self.type,
            object_id=self.object_id,
            user=self.user.partition("!")[0],
            token=self.user.partition("!")[2],
            started_at=self.started_at,
            running=not is_over,
            ended_at=self.ended_at if with_end else None,
            exit_text=self.exit_text if is_over else None,
            raw={"upid": self.upid, "status": self.exit_text},
        )


class ScriptedRemote:
    """`calls` counts requests by kind, `log` keeps them in order with their arguments."""

    def __init__(self, *nodes: str) -> None:
        self.now = START
        self.nodes = list(nodes or ("pve1",))
        self.tasks: dict[str, RemoteTask] = {}
        self.resources: list[Resource] = []
        self.config: dict[str, Any] = {}
        self.permissions = {"/": {"Sys.Audit": True, "VM.Audit": True}}
        self.down: set[str] = set()  # nodes behind a proxy that answers 595
        self.failing: SourceError | None = None
        self.failing_calls: dict[str, SourceError] = {}
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[Any, ...]] = []
        self.latency_seconds: float | None = 0.01
        self.page_limit = 10_000
        self._pid = 1000

    # what tests do to it

    def start(
        self,
        type: str = "qmstart",
        *,
        node: str = "pve1",
        object_id: str = "100",
        user: str = "root@pam",
        started_at: datetime | None = None,
        pid: int | None = None,
        lines: tuple[str, ...] = (),
    ) -> RemoteTask:
        self._pid += 1
        started_at = started_at or self.now.replace(microsecond=0)
        number = self._pid if pid is None else pid
        upid = f"UPID:{node}:{number:08X}:{number:08X}:{int(started_at.timestamp()):08X}:{type}:{object_id}:{user}:"
        task = RemoteTask(upid, node, type, object_id, user, started_at, list(lines))
        self.tasks[upid] = task
        return task

    def end(self, task: RemoteTask, exit_text: str = "OK", *, last_line: str | None = None) -> None:
        task.ended_at = self.now.replace(microsecond=0)
        task.exit_text = exit_text
        task.lines.append(last_line or ("TASK OK" if exit_text == "OK" else f"TASK ERROR: {exit_text}"))

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def clock(self) -> datetime:
        return self.now

    # what the poller asks

    def fetch_version(self) -> Version:
        return Version("9.2.11", "9.2", 9)

    def fetch_permissions(self) -> Permissions:
        self._count("permissions")
        return Permissions(self.permissions)

    def fetch_nodes(self) -> list[Node]:
        self._count("nodes")
        return [Node(name, True, 1000, "") for name in self.nodes]

    def fetch_resources(self, kind: str | None = None) -> list[Resource]:
        self._count("resources", kind)
        return self.resources

    def fetch_guest_config(self, kind: str, node: str, vmid: int) -> dict[str, Any]:
        self._count("config", kind, node, vmid)
        self._must_reach(node)
        return self.config

    def fetch_cluster_tasks(self) -> list[TaskObservation]:
        self._count("cluster")
        if "Sys.Audit" not in self.permissions.get("/", {}):
            return []
        shown: list[RemoteTask] = []
        for node in self.nodes:
            mine = [
                t for t in self.tasks.values() if t.node == node and not t.is_forgotten and not t.is_unlisted
            ]
            running = [t for t in mine if t.ended_at is None]
            finished = sorted((t for t in mine if t.ended_at), key=lambda t: t.started_at, reverse=True)
            shown += running + finished[: max(0, SLOTS - len(running))]
        return [t.observation() for t in shown]

    def fetch_node_tasks(
        self, node: str, *, since: int | None, start: int = 0, limit: int = 500, source: str = "all"
    ) -> NodeTasks:
        self._count("list", node, since, start)
        self._must_reach(node)
        mine = [t for t in self.tasks.values() if t.node == node and not t.is_forgotten and not t.is_unlisted]
        mine = [t for t in mine if since is None or t.started_at.timestamp() >= since]
        running = [t for t in mine if t.ended_at is None]
        finished = sorted((t for t in mine if t.ended_at), key=lambda t: t.ended_at or START, reverse=True)
        rows = (running + finished)[start : start + limit]
        return NodeTasks([t.observation() for t in rows], len(mine), len(rows))

    def fetch_task(self, node: str, upid: str) -> TaskObservation:
        self._count("status", upid)
        self._must_reach(node)
        task = self.tasks.get(upid)
        if task is None or task.is_forgotten:
            raise SourceRefused("no such task", kind="not_found", status=400)
        return task.observation(with_end=False)

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> LogPage:
        self._count("log", upid, after)
        self._must_reach(node)
        task = self.tasks.get(upid)
        if task is None or task.is_forgotten:
            return LogPage((), 0, missing="unable to open file - No such file or directory")
        texts = task.lines[after : after + min(limit, self.page_limit)]
        lines = tuple(RemoteLogLine(after + 1 + i, text) for i, text in enumerate(texts))
        return LogPage(lines, len(task.lines))

    def _count(self, kind: str, *arguments: Any) -> None:
        self.calls[kind] += 1
        self.log.append((kind, *arguments))
        if self.failing is not None:
            raise self.failing
        if kind in self.failing_calls:
            raise self.failing_calls[kind]

    def _must_reach(self, node: str) -> None:
        if node in self.down:
            raise SourceUnavailable("595", kind="proxy", status=595)
