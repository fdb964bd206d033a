"""A source in memory that answers as Proxmox does, counts calls and fails on demand. Opens no socket."""

from datetime import UTC, datetime
from typing import Any

from tasks_app.sources.base import LogPage, RemoteLogLine, TaskObservation
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.proxmox import NodeTasks, Permissions, Resource, Version
from tests.factories import make_upid

OUR_USER, OUR_TOKEN = "portal@pve", "web"


class FakeSource:
    """`fails` maps a method to errors it raises, one a call; `stopped_text` is how a stopped task ends.

    `hidden` are VMIDs of guests that the token may not see.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails: dict[str, list[Exception]] = {}
        self.tasks: dict[str, TaskObservation] = {}
        self.logs: dict[str, list[str]] = {}
        self.guests: list[Resource] = []
        self.configs: dict[int, dict[str, Any]] = {}
        self.next_vmid = 300
        self.hidden: set[int] = set()
        self.stopped_text = "interrupted by signal"
        self.clock_skew_seconds: float | None = 0.0
        self.latency_seconds: float | None = 0.005

    def count(self, method: str) -> int:
        return sum(call[0] == method for call in self.calls)

    def add_task(
        self,
        *,
        type: str = "qmstart",
        object_id: str = "100",
        started_at: datetime | None = None,
        user: str = OUR_USER,
        token: str = OUR_TOKEN,
        exit_text: str | None = None,
        log: tuple[str, ...] = (),
        upid: str = "",
    ) -> str:
        started_at = started_at or datetime.now(UTC).replace(microsecond=0)
        owner = f"{user}!{token}" if token else user
        upid = upid or make_upid(type=type, object_id=object_id, user=owner, started_at=started_at)
        self.tasks[upid] = TaskObservation(
            remote_id=upid,
            node="pve1",
            type=type,
            object_id=object_id,
            user=user,
            token=token,
            started_at=started_at,
            running=exit_text is None,
            exit_text=exit_text,
        )
        self.logs[upid] = list(log)
        return upid

    def end_task(self, upid: str, exit_text: str) -> None:
        old = self.tasks[upid]
        self.tasks[upid] = TaskObservation(
            **{
                name: getattr(old, name)
                for name in ("remote_id", "node", "type", "object_id", "user", "token")
            },
            started_at=old.started_at,
            running=False,
            exit_text=exit_text,
        )

    # what the portal calls

    def fetch_version(self) -> Version:
        self._call("fetch_version")
        return Version("9.2.11", "9.2", 9)

    def fetch_permissions(self) -> Permissions:
        self._call("fetch_permissions")
        return Permissions({"/": {"Sys.Audit": True, "VM.Audit": False}})

    def fetch_resources(self, kind: str | None = None) -> list[Resource]:
        self._call("fetch_resources", kind)
        return list(self.guests)

    def fetch_guest_config(self, kind: str, node: str, vmid: int) -> dict[str, Any]:
        self._call("fetch_guest_config", vmid)
        return self.configs[vmid]

    def fetch_next_vmid(self) -> int:
        self._call("fetch_next_vmid")
        return self.next_vmid

    def is_vmid_free(self, vmid: int) -> bool:
        self._call("is_vmid_free", vmid)
        return vmid not in self.hidden and all(row.vmid != vmid for row in self.guests)

    def fetch_node_tasks(
        self, node: str, *, since: int | None, start: int = 0, limit: int = 500, source: str = "all"
    ) -> NodeTasks:
        self._call("fetch_node_tasks", node, since)
        found = [t for t in self.tasks.values() if since is None or t.started_at.timestamp() >= since]
        return NodeTasks(found[start : start + limit], len(found), len(found[start : start + limit]))

    def fetch_task(self, node: str, upid: str) -> TaskObservation:
        self._call("fetch_task", upid)
        if upid not in self.tasks:
            raise SourceRefused("no such task", kind="not_found", status=400)
        return self.tasks[upid]

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> LogPage:
        self._call("fetch_log", upid)
        lines = self.logs[upid]
        page = tuple(RemoteLogLine(n, text) for n, text in enumerate(lines, 1) if after < n <= after + limit)
        return LogPage(page, len(lines))

    def stop_task(self, node: str, upid: str) -> None:
        self._call("stop_task", upid)
        if self.tasks[upid].running:
            self.end_task(upid, self.stopped_text)

    def start_guest(self, kind: str, node: str, vmid: int) -> str:
        return self._start("start_guest", kind, node, vmid, type="start")

    def stop_guest(self, kind: str, node: str, vmid: int) -> str:
        return self._start("stop_guest", kind, node, vmid, type="stop")

    def shutdown_guest(self, kind: str, node: str, vmid: int) -> str:
        return self._start("shutdown_guest", kind, node, vmid, type="shutdown")

    def reboot_guest(self, kind: str, node: str, vmid: int) -> str:
        return self._start("reboot_guest", kind, node, vmid, type="reboot")

    def create_snapshot(self, kind: str, node: str, vmid: int, name: str, description: str = "") -> str:
        return self._start(
            "create_snapshot", kind, node, vmid, type="snapshot", name=name, description=description
        )

    def clone_guest(self, kind: str, node: str, vmid: int, **given: Any) -> str:
        upid = self._start("clone_guest", kind, node, vmid, type="clone", **given)
        self.logs[upid] = [f"creating a clone of VM {vmid} with ID {given['new_vmid']}"]
        return upid

    def rollback_snapshot(self, kind: str, node: str, vmid: int, name: str, *, start: bool = False) -> str:
        return self._start("rollback_snapshot", kind, node, vmid, type="rollback", name=name, start=start)

    def backup_guest(self, node: str, vmid: int, **given: Any) -> str:
        self._call("backup_guest", "", node, vmid, given)
        return self.add_task(type="vzdump", object_id=str(vmid))

    def resize_disk(self, kind: str, node: str, vmid: int, *, disk: str, size_gb: int) -> str:
        self._call("resize_disk", kind, node, vmid, {"disk": disk, "size_gb": size_gb})
        return self.add_task(type="resize", object_id=str(vmid))

    def delete_guest(self, kind: str, node: str, vmid: int, *, purge: bool = True) -> str:
        return self._start("delete_guest", kind, node, vmid, type="destroy")

    def create_container(self, node: str, vmid: int, **given: Any) -> str:
        return self._start("create_container", "lxc", node, vmid, type="create", **given)

    def configure_guest(
        self, kind: str, node: str, vmid: int, values: dict[str, Any], *, remove: tuple[str, ...] = ()
    ) -> None:
        self._call("configure_guest", kind, node, vmid, values, remove)
        config = self.configs.setdefault(vmid, {})
        config.update(values)
        for name in remove:
            config.pop(name, None)

    def _start(self, method: str, kind: str, node: str, vmid: int, *, type: str, **given: Any) -> str:
        self._call(method, kind, node, vmid, given)
        return self.add_task(type=("qm" if kind == "qemu" else "vz") + type, object_id=str(vmid))

    def _call(self, method: str, *details: Any) -> None:
        self.calls.append((method, *details))
        errors = self.fails.get(method)
        if errors:
            raise errors.pop(0)
