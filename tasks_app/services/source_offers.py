"""What a cluster has to make machines from: templates, storages, nodes, pools and bridges, read when an admin asks."""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.core.cache import cache

from tasks_app import connections
from tasks_app.models import CatalogItem, Guest, Source
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox import ProxmoxSource, disk_sizes
from tasks_app.sources.proxmox.inventory import GuestKind, Resource

T = TypeVar("T")

FRESH_SECONDS = 60
PATIENCE_SECONDS = 6.0
"""No further question is begun after this; a page waits for it."""
MAX_READS = 12
"""Bridges and OS templates are asked for by node and storage; more than this no list of choices needs."""
MAX_OSTEMPLATES = 200
_GIB = 1 << 30
_BRIDGE = re.compile(r"(?:^|,)bridge=([\w.\-]+)")
_FIRST_DISKS = ("scsi0", "virtio0", "sata0", "ide0")
Kind = CatalogItem.Kind


@dataclass(frozen=True, slots=True)
class StorageOffer:
    """A storage that takes disks; `nodes` are those that reach it, `free` in bytes on the first of them."""

    name: str
    nodes: tuple[str, ...]
    content: tuple[str, ...]
    is_shared: bool
    free: int


@dataclass(frozen=True, slots=True)
class OsTemplate:
    """`volid` as in `local:vztmpl/debian-13.tar.zst`; `size` in bytes."""

    volid: str
    size: int

    @property
    def name(self) -> str:
        return self.volid.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything by name. `problem` says in a sentence what could not be read, "" when all could."""

    nodes: tuple[str, ...] = ()
    storages: tuple[StorageOffer, ...] = ()
    pools: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    os_templates: tuple[OsTemplate, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """What an item is made from, as its configuration says now. Disks in whole GiB, rounded up, by key.

    `disk_key` is the one that grows: what it boots from, `rootfs` of containers. An OS template has no disk yet.
    """

    kind: str
    vmid: int | None = None
    ostemplate: str = ""
    name: str = ""
    node: str = ""
    is_template: bool = False
    disks: tuple[tuple[str, int], ...] = ()
    disk_key: str = ""
    bridges: tuple[str, ...] = ()
    storages: tuple[str, ...] = ()
    has_cloud_init: bool = False

    @property
    def disk_gb(self) -> int:
        """Size of the disk that grows."""
        return dict(self.disks).get(self.disk_key, 0)

    @property
    def disks_gb(self) -> int:
        """All disks together, as a quota counts them."""
        return sum(size for _, size in self.disks)


def read_offer(source: Source, *, client: ProxmoxSource | None = None) -> Offer:
    """What `source` has, at most a minute old. Never raises a SourceError: what is missing is named in the offer."""
    key = f"offer:{source.pk}:{source.token_id}"
    known = cache.get(key)
    if isinstance(known, Offer):
        return known
    try:
        offer = _fetch_offer(client or connections.client_of(source))
    except SourceError as error:
        return Offer(problem=f"{source.name} could not be asked what it has: {error}")
    if not offer.problem:
        cache.set(key, offer, FRESH_SECONDS)
    return offer


def fetch_template(source: Source, pick: str, *, client: ProxmoxSource | None = None) -> Template | None:
    """The template behind a choice (`qemu:9000`, `lxc:500`, `ostemplate:local:vztmpl/…`); None when there is none.

    Raises SourceError when its configuration cannot be read.
    """
    kind, _, what = pick.partition(":")
    if kind == Kind.LXC_CREATE:
        found = {template.volid for template in read_offer(source, client=client).os_templates}
        return (
            Template(kind, ostemplate=what, name=what.rpartition("/")[2], disk_key="rootfs")
            if what in found
            else None
        )
    if (
        kind not in (Kind.QEMU_CLONE, Kind.LXC_CLONE)
        or not (what.isascii() and what.isdigit())
        or len(what) > 9
    ):
        return None
    guest = Guest.objects.filter(source=source, kind=kind, vmid=int(what), gone_at__isnull=True).first()
    if guest is None:
        return None
    guest_kind: GuestKind = "qemu" if kind == Kind.QEMU_CLONE else "lxc"
    config = (client or connections.client_of(source)).fetch_guest_config(guest_kind, guest.node, guest.vmid)
    return parse_template(guest, config)


def pick_of(item: CatalogItem) -> str:
    """The choice that an item was made from, as `fetch_template` takes it."""
    return f"{item.kind}:{item.ostemplate or item.vmid}"


def parse_template(guest: Guest, config: Mapping[str, Any]) -> Template:
    """What matters of a guest's configuration."""
    sizes = {key: math.ceil(size / _GIB) for key, size in disk_sizes(config).items()}
    values = [str(value) for value in config.values() if isinstance(value, str)]
    disks = [str(config[key]) for key in sizes]
    return Template(
        kind=guest.kind,
        vmid=guest.vmid,
        name=guest.name,
        node=guest.node,
        is_template=guest.is_template,
        disks=tuple(sorted(sizes.items())),
        disk_key=_growing_disk(guest, config, sizes),
        bridges=tuple(sorted({match[1] for value in values if (match := _BRIDGE.search(value))})),
        storages=tuple(sorted({disk.split(":", 1)[0] for disk in disks})),
        has_cloud_init=any("cloudinit" in value for value in values),
    )


def _growing_disk(guest: Guest, config: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    if guest.kind == Guest.LXC:
        return "rootfs" if "rootfs" in sizes else ""
    order = str(config.get("boot") or "").partition("order=")[2].split(";")
    wanted = [*order, str(config.get("bootdisk") or ""), *_FIRST_DISKS, *sorted(sizes)]
    return next((key for key in wanted if key in sizes and not key.startswith(("efidisk", "tpmstate"))), "")


def _fetch_offer(client: ProxmoxSource) -> Offer:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    reads = _Reads(ends_at)
    resources = client.fetch_resources()
    nodes = tuple(sorted(row.node for row in resources if row.type == "node" and row.status == "online"))
    rows = [
        row for row in resources if row.type == "storage" and row.status == "available" and row.node in nodes
    ]
    bridges: set[str] = set()
    for node in nodes:
        bridges.update(reads.ask(f"bridges of {node}", partial(client.fetch_bridges, node)))
    templates: dict[str, OsTemplate] = {}
    seen: set[str] = set()
    for row in rows:
        if "vztmpl" not in row.content or (row.shared and row.storage in seen):
            continue
        seen.add(row.storage)
        volumes = reads.ask(
            f"templates on {row.storage}",
            partial(client.fetch_storage_content, row.node, row.storage, "vztmpl"),
        )
        templates.update((volume.volid, OsTemplate(volume.volid, volume.size)) for volume in volumes)
    return Offer(
        nodes=nodes,
        storages=_storages(rows),
        pools=tuple(sorted({row.pool for row in resources if row.type == "pool" and row.pool})),
        bridges=tuple(sorted(bridges)),
        os_templates=tuple(templates[volid] for volid in sorted(templates)[:MAX_OSTEMPLATES]),
        problem=f"Not everything could be read: {', '.join(reads.missed[:3])}." if reads.missed else "",
    )


class _Reads:
    """A bounded number of further questions; what is not answered or not asked any more is named."""

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._left = MAX_READS
        self.missed: list[str] = []

    def ask(self, what: str, question: Callable[[], list[T]]) -> list[T]:
        if self._left <= 0 or time.monotonic() > self._ends_at:
            self.missed.append(what)
            return []
        self._left -= 1
        try:
            return question()
        except SourceError:
            self.missed.append(what)
            return []


def _storages(rows: list[Resource]) -> tuple[StorageOffer, ...]:
    found: dict[str, list[Resource]] = {}
    for row in rows:
        if "images" in row.content or "rootdir" in row.content:
            found.setdefault(row.storage, []).append(row)
    return tuple(
        StorageOffer(
            name,
            tuple(sorted(row.node for row in same)),
            same[0].content,
            same[0].shared,
            max(0, same[0].maxdisk - same[0].disk),
        )
        for name, same in sorted(found.items())
    )
