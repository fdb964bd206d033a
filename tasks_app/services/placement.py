"""On which node a new machine will stand: facts of the cluster, read at most every few seconds, and the choice."""

import logging
import threading
import time
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass, field, replace

from tasks_app import connections
from tasks_app.models import CatalogItem, Guest, Machine
from tasks_app.models.machine import WAITING, WORKING
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox import ProxmoxSource, disk_sizes
from tasks_app.sources.proxmox.inventory import GuestKind

logger = logging.getLogger(__name__)

FRESH_SECONDS = 15.0
"""Proxmox renews these figures every 10 s itself."""
PATIENCE_SECONDS = 1.5
"""How long a page waits for a source; without an answer the node is chosen when the clone starts."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Memory in bytes. `storages` are those the node reaches."""

    name: str
    free_memory: int
    total_memory: int
    storages: frozenset[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """Online nodes by name, names of shared storages, and the storages of templates' disks by VMID."""

    nodes: dict[str, NodeFacts] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    disks: dict[int, frozenset[str]] = field(default_factory=dict)


_cache: dict[int, tuple[float, Facts]] = {}
_lock = threading.Lock()
_readers = ThreadPoolExecutor(4, thread_name_prefix="placement")


def facts_of(item: CatalogItem, *, client: ProxmoxSource | None = None) -> Facts | None:
    """What is known about the item's source; None when it does not tell in time. Never raises, never waits long."""
    if item.placement == CatalogItem.Placement.SAME and item.kind != CatalogItem.Kind.LXC_CREATE:
        return None
    source = item.source
    with _lock:
        known = _cache.get(source.pk)
    vmid = item.vmid
    if known and time.monotonic() - known[0] < FRESH_SECONDS and (vmid is None or vmid in known[1].disks):
        return known[1]
    guest = template_of(item)
    try:
        client = client or connections.client_of(source)
        reading = _readers.submit(
            _fetch, client, guest.kind if guest else "", guest.node if guest else "", vmid
        )
        facts = reading.result(PATIENCE_SECONDS)
    except (SourceError, TooSlow) as error:
        logger.info("no facts for placement source=%s why=%s", source.name, type(error).__name__)
        return known[1] if known else None
    with _lock:
        if known:
            facts = replace(facts, disks=known[1].disks | facts.disks)
        _cache[source.pk] = (time.monotonic(), facts)
    return facts


def forget_facts() -> None:
    """For tests: the next question asks the source."""
    with _lock:
        _cache.clear()


def template_of(item: CatalogItem) -> Guest | None:
    """The guest that is cloned, as the last pass saw it."""
    if item.vmid is None:
        return None
    return Guest.objects.filter(source=item.source_id, vmid=item.vmid, gone_at__isnull=True).first()


class Placer:
    """Chooses nodes for the machines of one order, one after the other; what it has placed counts as used."""

    def __init__(self, item: CatalogItem, facts: Facts | None) -> None:
        self._item = item
        self._template = template_of(item)
        self._nodes = _candidates(item, facts, self._template)
        self._free = {node.name: node.free_memory for node in self._nodes}
        if self._nodes:
            promised = Machine.objects.filter(
                source=item.source_id, stage__in=[*WAITING, *WORKING], node__in=self._free
            )
            for name, memory_mb in promised.values_list("node", "memory_mb"):
                self._free[name] -= memory_mb << 20

    def place(self, memory_mb: int) -> str:
        """The node's name; "" when it is decided at the start of the clone."""
        if self._item.placement == CatalogItem.Placement.SAME and self._template is not None:
            return self._template.node
        if not self._free:
            return ""
        best = max(sorted(self._free), key=lambda name: self._free[name])
        self._free[best] -= memory_mb << 20
        return best


def _candidates(item: CatalogItem, facts: Facts | None, template: Guest | None) -> list[NodeFacts]:
    if facts is None:
        return []
    nodes = list(facts.nodes.values())
    if item.placement == CatalogItem.Placement.FIXED:
        nodes = [node for node in nodes if node.name in item.nodes]
    needed: Set[str]
    if item.kind == CatalogItem.Kind.LXC_CREATE:
        needed = {item.storage, item.ostemplate.partition(":")[0]} - {""}
    else:
        needed = {item.storage} - {""} or facts.disks.get(item.vmid or 0, frozenset())
        own = facts.disks.get(item.vmid or 0)
        if template is not None and (own is None or not own <= facts.shared):
            # Proxmox clones to another node only when the original's disks can be reached from there.
            nodes = [node for node in nodes if node.name == template.node]
    return [node for node in nodes if needed <= node.storages]


def _fetch(client: ProxmoxSource, kind: str, node: str, vmid: int | None) -> Facts:
    rows = client.fetch_resources()
    storages: dict[str, set[str]] = {}
    for row in rows:
        if row.type == "storage" and row.status == "available":
            storages.setdefault(row.node, set()).add(row.storage)
    nodes = {
        row.node: NodeFacts(row.node, row.maxmem - row.mem, row.maxmem, frozenset(storages.get(row.node, ())))
        for row in rows
        if row.type == "node" and row.status == "online"
    }
    shared = frozenset(row.storage for row in rows if row.type == "storage" and row.shared)
    disks: dict[int, frozenset[str]] = {}
    if vmid is not None and node:
        guest_kind: GuestKind = "qemu" if kind == "qemu" else "lxc"
        config = client.fetch_guest_config(guest_kind, node, vmid)
        disks[vmid] = frozenset(str(config[key]).partition(":")[0] for key in disk_sizes(config))
    return Facts(nodes, shared, disks)


def source_is_busy_alone(item: CatalogItem) -> Guest | None:
    """The running guest whose clones take its lock alone, so that only one at a time works; None for a template."""
    guest = template_of(item)
    return guest if guest is not None and guest.status == "running" and not guest.is_template else None
