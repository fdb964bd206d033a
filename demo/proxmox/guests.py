"""Virtual machines and containers: their configuration, disks and state, as the calls show them."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

GIB = 1024**3
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024**4}
_DISK_KEY = re.compile(r"(?:scsi|virtio|sata|ide|efidisk|tpmstate|mp)\d+|rootfs")
# pvestatd reports every 10 s; a younger guest has neither name nor figures.
REPORT_SECONDS = 10.0


def parse_size(text: str) -> int:
    """`32G`, `528K`, `4M` or plain bytes → bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


def format_size(size: int) -> str:
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


@dataclass(frozen=True, slots=True)
class Disk:
    key: str
    storage: str
    volume: str
    size: int
    is_cdrom: bool
    rest: str

    @property
    def volid(self) -> str:
        return f"{self.storage}:{self.volume}"


@dataclass
class Guest:
    """One guest; `config` holds exactly what GET …/config answers, `lock` included, `digest` excluded."""

    vmid: int
    kind: str
    node: str
    config: dict[str, Any]
    status: str = "stopped"
    paused: bool = False
    pool: str | None = None
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    pending: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    born_at: float = 0.0
    agent_answers: bool = True
    leaving: float = 0.0

    @property
    def name(self) -> str:
        key = "name" if self.kind == "qemu" else "hostname"
        return str(self.config.get(key, f"VM {self.vmid}" if self.kind == "qemu" else f"CT{self.vmid}"))

    @property
    def lock(self) -> str | None:
        lock = self.config.get("lock")
        return str(lock) if lock else None

    @lock.setter
    def lock(self, value: str | None) -> None:
        if value:
            self.config["lock"] = value
        else:
            self.config.pop("lock", None)

    @property
    def is_template(self) -> bool:
        return bool(self.config.get("template"))

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def memory(self) -> int:
        return int(self.config.get("memory", 512)) * 1024**2

    @property
    def cpus(self) -> int:
        return int(self.config.get("cores", 1)) * int(self.config.get("sockets", 1))

    def disks(self, *, cdroms: bool = False) -> list[Disk]:
        """In the order in which Proxmox copies them: by name."""
        found = []
        for key, value in sorted(self.config.items()):
            if not _DISK_KEY.fullmatch(key) or ":" not in str(value):
                continue
            volid, _, rest = str(value).partition(",")
            storage, _, volume = volid.partition(":")
            options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
            cdrom = options.get("media") == "cdrom"
            if cdrom and not cdroms:
                continue
            size = parse_size(options.get("size", "0"))
            found.append(Disk(key, storage, volume, size, cdrom, rest))
        return found

    @property
    def max_disk(self) -> int:
        """Size of the boot disk, which is what the lists show."""
        disks = [disk for disk in self.disks() if not disk.key.startswith(("efidisk", "tpmstate", "mp"))]
        return disks[0].size if disks else 0

    def digest(self) -> str:
        return hashlib.sha1(
            json.dumps(self.config, sort_keys=True).encode(), usedforsecurity=False
        ).hexdigest()

    def config_path(self) -> str:
        folder = "qemu-server" if self.kind == "qemu" else "lxc"
        return f"nodes/{self.node}/{folder}/{self.vmid}.conf"


def cpu_share(guest: Guest, now: float) -> float:
    """A believable load that wanders with the clock and is the same for all who ask in one second."""
    if not guest.is_running or guest.paused:
        return 0
    wave = int(
        hashlib.sha1(f"{guest.vmid}:{int(now) // 10}".encode(), usedforsecurity=False).hexdigest()[:4], 16
    )
    return round(0.01 + (guest.vmid % 17) / 60 + wave / 65535 * 0.2, 15)


def describe_resource(guest: Guest, now: float, scale: float, *, node_online: bool) -> dict[str, Any]:
    """The row of /cluster/resources; a newborn has only its identity."""
    row: dict[str, Any] = {
        "id": f"{guest.kind}/{guest.vmid}",
        "node": guest.node,
        "type": guest.kind,
        "vmid": guest.vmid,
    }
    if tags := guest.config.get("tags"):
        row["tags"] = tags
    if guest.lock:
        row["lock"] = guest.lock
    if guest.pool:
        row["pool"] = guest.pool
    if not node_online or now - guest.born_at < REPORT_SECONDS * scale:
        return row | {"status": "unknown"}
    return row | _figures(guest, now) | {"maxcpu": guest.cpus, "template": int(guest.is_template)}


def _figures(guest: Guest, now: float) -> dict[str, Any]:
    running = guest.is_running
    uptime = max(0, int(now - guest.started_at)) if running else 0
    used = int(guest.memory * (0.35 + guest.vmid % 5 / 10)) if running else 0
    return {
        "name": guest.name,
        "status": guest.status,
        "cpu": cpu_share(guest, now),
        "mem": used,
        "memhost": used,
        "maxmem": guest.memory,
        "disk": int(guest.max_disk * 0.4) if running and guest.kind == "lxc" else 0,
        "maxdisk": guest.max_disk,
        "diskread": uptime * 40_000,
        "diskwrite": uptime * 65_000,
        "netin": uptime * 12_000,
        "netout": uptime * 9_000,
        "uptime": uptime,
    }


def describe_current(guest: Guest, now: float) -> dict[str, Any]:
    """GET …/status/current."""
    row: dict[str, Any] = describe_listed(guest, now) | {"ha": {"managed": 0}}
    if guest.kind == "qemu":
        row["qmpstatus"] = "paused" if guest.paused else guest.status
        if str(guest.config.get("agent", "0")) not in ("0", "enabled=0"):
            row["agent"] = 1
    return row


def describe_listed(guest: Guest, now: float) -> dict[str, Any]:
    """One row of GET /nodes/{node}/qemu or lxc."""
    row = _figures(guest, now) | {"vmid": guest.vmid, "cpus": guest.cpus}
    if guest.kind == "lxc":
        row |= {"type": "lxc", "swap": 0, "maxswap": int(guest.config.get("swap", 512)) * 1024**2}
        del row["memhost"]
    else:
        del row["diskread"], row["diskwrite"]
    if guest.is_template:
        row["template"] = 1
    if guest.lock:
        row["lock"] = guest.lock
    if tags := guest.config.get("tags"):
        row["tags"] = tags
    if "serial0" in guest.config:
        row["serial"] = 1
    if guest.kind == "qemu" and guest.is_running:
        row["pid"] = 100_000 + guest.vmid
        row |= {
            f"pressure{kind}{part}": 0
            for kind, part in (("cpu", "some"), ("cpu", "full"), ("io", "some"), ("io", "full"))
        }
        row |= {"pressurememorysome": 0, "pressurememoryfull": 0}
    return row
