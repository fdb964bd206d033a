"""The calls the portal makes to a Proxmox VE cluster, each a method that returns frozen dataclasses."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tasks_app.sources.base import LogPage, TaskObservation
from tasks_app.sources.errors import OutcomeUnknown, SourceUnavailable
from tasks_app.sources.proxmox import inventory
from tasks_app.sources.proxmox.api import ProxmoxApi
from tasks_app.sources.proxmox.connection import Connection
from tasks_app.sources.proxmox.inventory import GuestKind, Node, Resource, Storage, Version
from tasks_app.sources.proxmox.permissions import Permissions, parse_permissions
from tasks_app.sources.proxmox.tasks import (
    NodeTasks,
    parse_int,
    parse_log,
    parse_task_rows,
    parse_task_status,
)

STOP_SECONDS = 20.0
"""DELETE of a task answers when its worker is gone: 2 s for a clone, 5 s at most; the rest is margin."""


class ProxmoxSource:
    """One cluster. Safe for many threads; close it, or use it as a context manager.

    Every method raises SourceUnavailable (ask again), SourceRefused (give up), SourceNeedsPerson (call a
    person). Those that change something are never repeated and raise OutcomeUnknown when their answer was
    lost.
    """

    def __init__(self, connection: Connection) -> None:
        self._api = ProxmoxApi(connection)
        self.name = connection.name

    def __repr__(self) -> str:
        return f"ProxmoxSource({self.name}, {self._api.address})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._api.close()

    @property
    def address(self) -> str:
        """The base URL that is asked first at the moment."""
        return self._api.address

    @property
    def latency_seconds(self) -> float | None:
        """How long the last answer took; None before the first."""
        return self._api.latency_seconds

    @property
    def clock_skew_seconds(self) -> float | None:
        """By how much the remote's clock was ahead of ours in its last answer; None when unknown."""
        return self._api.clock_skew_seconds

    def forget_refusal(self) -> None:
        """Send the token again although it was refused within the last minute: a person repaired it."""
        self._api.forget_refusal()

    # what there is

    def fetch_version(self) -> Version:
        return inventory.parse_version(self._api.get("/version"))

    def fetch_permissions(self) -> Permissions:
        """What the token may do, from `GET /access/permissions`."""
        return parse_permissions(self._api.get("/access/permissions"))

    def fetch_nodes(self) -> list[Node]:
        return inventory.parse_nodes(self._api.get("/nodes"))

    def fetch_resources(self, kind: str | None = None) -> list[Resource]:
        """`kind` is vm (guests of both kinds), storage, node or sdn; None for everything, with pools."""
        return inventory.parse_resources(
            self._api.get("/cluster/resources", {"type": kind} if kind else None)
        )

    def fetch_storages(self, node: str) -> list[Storage]:
        """Every storage the token may see there, also those it may not allocate on."""
        return inventory.parse_storages(self._api.get(f"/nodes/{_segment(node)}/storage"))

    def fetch_guest_config(self, kind: GuestKind, node: str, vmid: int) -> dict[str, Any]:
        """As Proxmox gives it, numbers sometimes as text. A guest that is gone is refused as remote_error."""
        config = self._api.get(_guest(kind, node, vmid) + "/config")
        if not isinstance(config, dict):
            raise SourceUnavailable("The configuration of the guest cannot be read.", kind="garbage")
        return config

    def fetch_next_vmid(self) -> int:
        """The lowest free id. It is not reserved: two callers get the same."""
        vmid = parse_int(self._api.get("/cluster/nextid"))
        if vmid is None:
            raise SourceUnavailable("The next free id cannot be read.", kind="garbage")
        return vmid

    # tasks

    def fetch_cluster_tasks(self) -> list[TaskObservation]:
        """All running tasks, filled up with finished ones to 25 per node, fewer when their texts are long.

        Without Sys.Audit on `/` Proxmox gives a token an empty list and no error.
        """
        return parse_task_rows(self._api.get("/cluster/tasks"))

    def fetch_node_tasks(
        self, node: str, *, since: int | None, start: int = 0, limit: int = 500, source: str = "all"
    ) -> NodeTasks:
        """A page of the node's tasks, running ones first, then by completion, newest first.

        `since` is a Unix time, inclusive, compared with the *start*. `source` is all, active or archive.
        A task that ends between two pages moves, so let pages overlap. `limit` 0 gives no rows.
        """
        params: dict[str, str | int] = {"source": source, "start": start, "limit": limit}
        if since is not None:
            params["since"] = since
        envelope = self._api.get_envelope(f"/nodes/{_segment(node)}/tasks", params)
        observations = parse_task_rows(envelope["data"])
        row_count = len(envelope["data"])
        total = parse_int(envelope.get("total"))
        if total is None:  # left out when it is zero
            total = start + row_count if row_count else 0
        return NodeTasks(observations, total, row_count)

    def fetch_task(self, node: str, upid: str) -> TaskObservation:
        """The task's state, right at once after its end. Raises SourceRefused (not_found) when it is gone."""
        return parse_task_status(self._api.get(_task(node, upid) + "/status"))

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> LogPage:
        """Lines numbered above `after`, oldest first; at most `limit` of them, 0 for all.

        Numbers start at 1 and have no gaps; the remote's `start` is a number of lines to skip, so `after`
        needs no arithmetic. The last line of a running task may be incomplete and grow later: ask again with
        `after=<last number> - 1` to read it once more. Fewer lines than `limit` come when lines are huge;
        `total` tells whether more is there.
        """
        path = _task(node, upid) + "/log"
        while True:
            try:
                envelope = self._api.get_envelope(path, {"start": after, "limit": limit})
                return parse_log(envelope["data"], envelope.get("total"), after=after)
            except SourceUnavailable as error:
                if error.kind != "too_large" or limit == 1:
                    raise
                limit = max(1, (limit or 5000) // 10)

    def stop_task(self, node: str, upid: str) -> None:
        """Ask the task to end and wait until its worker is gone (2 to 5 s). A finished task is no error.

        Raises SourceRefused (forbidden with Sys.Modify for tasks of others; not_found).
        """
        self._api.write("DELETE", _task(node, upid), read_seconds=STOP_SECONDS)

    # deeds; each returns the UPID of the task it started

    def start_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        """Impossible starts (unknown guest, template) answer a UPID too and fail in the task."""
        return self._start(_guest(kind, node, vmid) + "/status/start")

    def stop_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        """Pull the plug."""
        return self._start(_guest(kind, node, vmid) + "/status/stop")

    def shutdown_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        return self._start(_guest(kind, node, vmid) + "/status/shutdown")

    def reboot_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        """A stopped guest is refused (remote_error)."""
        return self._start(_guest(kind, node, vmid) + "/status/reboot")

    def create_snapshot(self, kind: GuestKind, node: str, vmid: int, name: str, description: str = "") -> str:
        """`name` has 2 to 40 characters and starts with a letter. A duplicate fails in the task."""
        return self._start(
            _guest(kind, node, vmid) + "/snapshot", _given(snapname=name, description=description)
        )

    def clone_guest(
        self,
        kind: GuestKind,
        node: str,
        vmid: int,
        *,
        new_vmid: int,
        name: str = "",
        full: bool | None = None,
        storage: str = "",
        target: str = "",
        pool: str = "",
        description: str = "",
    ) -> str:
        """`full` None lets Proxmox decide: a template is linked, anything else copied.

        `storage` is refused for linked clones. An id in use is refused as remote_error, or fails in
        the task, whose id is the source.
        """
        data = _given(storage=storage, target=target, pool=pool, description=description)
        data |= {"newid": new_vmid} | _given(**{"name" if kind == "qemu" else "hostname": name})
        if full is not None:
            data["full"] = int(full)
        return self._start(_guest(kind, node, vmid) + "/clone", data)

    def _start(self, path: str, data: dict[str, str | int] | None = None) -> str:
        upid = self._api.write("POST", path, data)
        if not isinstance(upid, str) or not upid.startswith("UPID:"):
            raise OutcomeUnknown("Proxmox answered without naming a task.", kind="garbage")
        return upid


def _segment(text: str) -> str:
    """One path component, percent-encoded exactly once. Raises ValueError for what would leave its folder."""
    if text in ("", ".", ".."):
        raise ValueError("not a name")
    return quote(text, safe="")


def _task(node: str, upid: str) -> str:
    return f"/nodes/{_segment(node)}/tasks/{_segment(upid)}"


def _guest(kind: GuestKind, node: str, vmid: int) -> str:
    return f"/nodes/{_segment(node)}/{_segment(kind)}/{int(vmid)}"


def _given(**values: str) -> dict[str, str | int]:
    """Only what was given: Proxmox takes an empty text for a value."""
    return {key: value for key, value in values.items() if value}
