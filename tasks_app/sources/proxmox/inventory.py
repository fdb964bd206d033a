"""What a cluster has: version, nodes, guests, storages, and how large a guest's disks are; pure functions."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.tasks import parse_int, parse_text

logger = logging.getLogger(__name__)

GuestKind = Literal["qemu", "lxc"]
T = TypeVar("T")

_DISK_KEY = re.compile(r"(?:ide|sata|scsi|virtio|efidisk|tpmstate|mp)\d+|rootfs")
_SIZE = re.compile(r"(?:^|,)size=(\d+(?:\.\d+)?)([KMGT]?)(?:,|$)")
_UNIT_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class Version:
    """`text` as in `9.2.11`, `major` its first number, `release` as in `9.2`."""

    text: str
    release: str
    major: int


@dataclass(frozen=True, slots=True)
class Node:
    """`fingerprint` is the SHA-256 of the node's certificate in colon form, "" when not told."""

    name: str
    online: bool
    uptime_seconds: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as one node sees it; sizes in bytes. `content` holds words like `images`, `rootdir`."""

    name: str
    type: str
    content: tuple[str, ...]
    active: bool
    enabled: bool
    shared: bool
    total: int
    used: int
    available: int


@dataclass(frozen=True, slots=True)
class Resource:
    """A row of `/cluster/resources`: guest, node, storage or pool. Sizes in bytes, 0 or "" where not told.

    A guest younger than 10 s has no name and no sizes yet. `disk` of a qemu guest is always 0.
    """

    id: str
    type: str
    node: str = ""
    vmid: int | None = None
    name: str = ""
    status: str = ""
    template: bool = False
    pool: str = ""
    tags: tuple[str, ...] = ()
    lock: str = ""
    mem: int = 0
    maxmem: int = 0
    cpu: float = 0.0
    maxcpu: int = 0
    disk: int = 0
    maxdisk: int = 0
    uptime: int = 0
    storage: str = ""
    content: tuple[str, ...] = ()
    shared: bool = False


def parse_version(data: object) -> Version:
    if not isinstance(data, dict) or not parse_text(data.get("version")):
        raise SourceUnavailable("The version cannot be read.", kind="garbage")
    text = parse_text(data["version"])
    major = re.match(r"\d{1,4}", text)
    return Version(text, parse_text(data.get("release")), int(major[0]) if major else 0)


def parse_nodes(data: object) -> list[Node]:
    """By name."""
    return sorted(_parse_rows(data, _parse_node, "nodes"), key=lambda node: node.name)


def parse_resources(data: object) -> list[Resource]:
    """In the remote's order, which means nothing."""
    return _parse_rows(data, _parse_resource, "resources")


def parse_storages(data: object) -> list[Storage]:
    """By name."""
    return sorted(_parse_rows(data, _parse_storage, "storages"), key=lambda storage: storage.name)


def parse_bridges(data: object) -> list[str]:
    """Names in order, each once."""
    return sorted(set(_parse_rows(data, lambda row: _require_text(row, "iface"), "bridges")))


def disk_sizes(config: Mapping[str, object]) -> dict[str, int]:
    """Bytes per disk that a full clone copies, by its key (`scsi0`, `efidisk0`, `rootfs`, `mp1`).

    CD drives, cloud-init drives, unused volumes, bind mounts and disks without a size (or 0) are left out.
    """
    sizes: dict[str, int] = {}
    for key, value in config.items():
        if not isinstance(value, str) or not _DISK_KEY.fullmatch(key):
            continue
        volume = value.split(",", 1)[0].removeprefix("file=").removeprefix("volume=")
        size = _SIZE.search(value)
        if size is None or ":" not in volume or "cloudinit" in volume or "media=cdrom" in value.split(","):
            continue
        if size_bytes := int(float(size[1]) * _UNIT_BYTES[size[2]]):
            sizes[key] = size_bytes
    return sizes


def _parse_rows(data: object, parse: Callable[[dict[str, object]], T], what: str) -> list[T]:
    """Rows without what makes them useful are left out, counted in one warning."""
    if not isinstance(data, list):
        raise SourceUnavailable(f"The list of {what} is not a list.", kind="garbage")
    parsed: list[T] = []
    for row in data:
        try:
            parsed.append(parse(row))
        except (ValueError, TypeError, AttributeError, OverflowError):
            continue
    if len(parsed) < len(data):
        logger.warning("unreadable rows were left out what=%s count=%d", what, len(data) - len(parsed))
    return parsed


def _parse_node(row: dict[str, object]) -> Node:
    return Node(
        name=_require_text(row, "node"),
        online=row.get("status") == "online",
        uptime_seconds=_number(row, "uptime"),
        fingerprint=parse_text(row.get("ssl_fingerprint")),
    )


def _parse_storage(row: dict[str, object]) -> Storage:
    return Storage(
        name=_require_text(row, "storage"),
        type=parse_text(row.get("type")),
        content=_words(row.get("content"), ","),
        active=bool(_number(row, "active")),
        enabled=bool(parse_int(row.get("enabled", 1))),
        shared=bool(_number(row, "shared")),
        total=_number(row, "total"),
        used=_number(row, "used"),
        available=_number(row, "avail"),
    )


def _parse_resource(row: dict[str, object]) -> Resource:
    cpu = row.get("cpu")
    return Resource(
        id=_require_text(row, "id"),
        type=_require_text(row, "type"),
        node=parse_text(row.get("node")),
        vmid=parse_int(row.get("vmid")),
        name=parse_text(row.get("name")),
        status=parse_text(row.get("status")),
        template=bool(_number(row, "template")),
        pool=parse_text(row.get("pool")),
        tags=_words(row.get("tags"), ";"),
        lock=parse_text(row.get("lock")),
        mem=_number(row, "mem"),
        maxmem=_number(row, "maxmem"),
        cpu=float(cpu) if isinstance(cpu, int | float) else 0.0,
        maxcpu=_number(row, "maxcpu"),
        disk=_number(row, "disk"),
        maxdisk=_number(row, "maxdisk"),
        uptime=_number(row, "uptime"),
        storage=parse_text(row.get("storage")),
        content=_words(row.get("content"), ","),
        shared=bool(_number(row, "shared")),
    )


def _require_text(row: dict[str, object], key: str) -> str:
    text = parse_text(row.get(key))
    if not text:
        raise ValueError(key)
    return text


def _number(row: dict[str, object], key: str) -> int:
    return parse_int(row.get(key)) or 0


def _words(value: object, separator: str) -> tuple[str, ...]:
    return tuple(sorted(word for word in parse_text(value).split(separator) if word))
