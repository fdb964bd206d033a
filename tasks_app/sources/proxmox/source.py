"""The questions the portal asks a Proxmox VE cluster, each a method that returns frozen dataclasses."""

from types import TracebackType
from typing import Any, Self

from tasks_app.sources.base import LogPage, TaskObservation
from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import guests, inventory
from tasks_app.sources.proxmox.api import ProxmoxApi
from tasks_app.sources.proxmox.connection import Connection
from tasks_app.sources.proxmox.deeds import Deeds
from tasks_app.sources.proxmox.guests import GuestAddresses, GuestStatus, Snapshot, Volume
from tasks_app.sources.proxmox.inventory import GuestKind, Node, Resource, Storage, Version
from tasks_app.sources.proxmox.paths import guest_path, segment, task_path
from tasks_app.sources.proxmox.permissions import Permissions, parse_permissions
from tasks_app.sources.proxmox.tasks import (
    NodeTasks,
    parse_int,
    parse_log,
    parse_task_rows,
    parse_task_status,
)


class ProxmoxSource(Deeds):
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
        return inventory.parse_storages(self._api.get(f"/nodes/{segment(node)}/storage"))

    def fetch_guest_config(self, kind: GuestKind, node: str, vmid: int) -> dict[str, Any]:
        """As Proxmox gives it, numbers sometimes as text. A guest that is gone is refused as remote_error."""
        config = self._api.get(guest_path(kind, node, vmid) + "/config")
        if not isinstance(config, dict):
            raise SourceUnavailable("The configuration of the guest cannot be read.", kind="garbage")
        return config

    def fetch_next_vmid(self) -> int:
        """The lowest free id. It is not reserved: two callers get the same."""
        vmid = parse_int(self._api.get("/cluster/nextid"))
        if vmid is None:
            raise SourceUnavailable("The next free id cannot be read.", kind="garbage")
        return vmid

    def is_vmid_free(self, vmid: int) -> bool:
        """Whether no guest of the cluster has it, also none that the token may not see. It is not reserved."""
        try:
            self._api.get("/cluster/nextid", {"vmid": vmid})
        except SourceRefused as error:
            if "vmid" in error.fields:
                return False
            raise
        return True

    def fetch_free_memory(self) -> dict[str, int]:
        """Bytes per node that is online."""
        rows = self.fetch_resources("node")
        return {row.node: max(row.maxmem - row.mem, 0) for row in rows if row.status == "online"}

    def fetch_storages_by_node(self) -> dict[str, dict[str, Resource]]:
        """Node → name → the storage as that node reaches it now; one call for the whole cluster."""
        found: dict[str, dict[str, Resource]] = {}
        for row in self.fetch_resources("storage"):
            if row.status == "available":
                found.setdefault(row.node, {})[row.storage] = row
        return found

    def fetch_bridges(self, node: str) -> list[str]:
        """Bridges and virtual networks of the node that the token may see, by name."""
        path = f"/nodes/{segment(node)}/network"
        return inventory.parse_bridges(self._api.get(path, {"type": "any_bridge"}))

    def fetch_storage_content(self, node: str, storage: str, content: str) -> list[Volume]:
        """Volumes of one type (`vztmpl`, `backup`, `images`) by id; those the token may not see are left out."""
        path = f"/nodes/{segment(node)}/storage/{segment(storage)}/content"
        return guests.parse_volumes(self._api.get(path, {"content": content}))

    # one guest

    def fetch_guest_status(self, kind: GuestKind, node: str, vmid: int) -> GuestStatus:
        """As it is now. A guest that is gone is refused as remote_error."""
        return guests.parse_status(self._api.get(guest_path(kind, node, vmid) + "/status/current"))

    def fetch_snapshots(self, kind: GuestKind, node: str, vmid: int) -> list[Snapshot]:
        """Oldest first, without Proxmox's pseudo entry for the running state."""
        return guests.parse_snapshots(self._api.get(guest_path(kind, node, vmid) + "/snapshot"))

    def fetch_addresses(self, kind: GuestKind, node: str, vmid: int) -> GuestAddresses:
        """The IP addresses of the guest, or why there are none. A silent agent costs 3 s: not for page requests.

        Raises SourceRefused (forbidden) when the token may not ask the agent.
        """
        path = guest_path(kind, node, vmid)
        if kind == "lxc":
            return guests.parse_container_addresses(self._api.get(path + "/interfaces"))
        try:
            data = self._api.get(path + "/agent/network-get-interfaces")
        except SourceRefused as error:
            gap = guests.gap_of(str(error))
            if gap is None:
                raise
            return GuestAddresses(gap=gap)
        return guests.parse_agent_addresses(data)

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
        envelope = self._api.get_envelope(f"/nodes/{segment(node)}/tasks", params)
        observations = parse_task_rows(envelope["data"])
        row_count = len(envelope["data"])
        total = parse_int(envelope.get("total"))
        if total is None:  # left out when it is zero
            total = start + row_count if row_count else 0
        return NodeTasks(observations, total, row_count)

    def fetch_task(self, node: str, upid: str) -> TaskObservation:
        """The task's state, right at once after its end. Raises SourceRefused (not_found) when it is gone."""
        return parse_task_status(self._api.get(task_path(node, upid) + "/status"))

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> LogPage:
        """Lines numbered above `after`, oldest first; at most `limit` of them, 0 for all.

        Numbers start at 1 and have no gaps; the remote's `start` is a number of lines to skip, so `after`
        needs no arithmetic. The last line of a running task may be incomplete and grow later: ask again with
        `after=<last number> - 1` to read it once more. Fewer lines than `limit` come when lines are huge;
        `total` tells whether more is there.
        """
        path = task_path(node, upid) + "/log"
        while True:
            try:
                envelope = self._api.get_envelope(path, {"start": after, "limit": limit})
                return parse_log(envelope["data"], envelope.get("total"), after=after)
            except SourceUnavailable as error:
                if error.kind != "too_large" or limit == 1:
                    raise
                limit = max(1, (limit or 5000) // 10)
