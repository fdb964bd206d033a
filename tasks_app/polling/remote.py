"""What a pass asks of a Proxmox client; the client and the scripted remotes of tests both fit."""

from typing import Any, Literal, Protocol

from tasks_app.sources.base import LogPage, TaskObservation
from tasks_app.sources.proxmox.inventory import Node, Resource, Version
from tasks_app.sources.proxmox.permissions import Permissions
from tasks_app.sources.proxmox.tasks import NodeTasks


class Remote(Protocol):
    """See `sources.proxmox.ProxmoxSource` for what each call means and raises."""

    @property
    def latency_seconds(self) -> float | None: ...

    def fetch_version(self) -> Version: ...

    def fetch_permissions(self) -> Permissions: ...

    def fetch_nodes(self) -> list[Node]: ...

    def fetch_resources(self, kind: str | None = None) -> list[Resource]: ...

    def fetch_guest_config(self, kind: Literal["qemu", "lxc"], node: str, vmid: int) -> dict[str, Any]: ...

    def fetch_cluster_tasks(self) -> list[TaskObservation]: ...

    def fetch_node_tasks(
        self, node: str, *, since: int | None, start: int = 0, limit: int = 500, source: str = "all"
    ) -> NodeTasks: ...

    def fetch_task(self, node: str, upid: str) -> TaskObservation: ...

    def fetch_log(self, node: str, upid: str, *, after: int, limit: int = 500) -> LogPage: ...
