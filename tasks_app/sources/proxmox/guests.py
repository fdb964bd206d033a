"""What one guest is like now: status, snapshots, addresses; and the volumes of a storage; pure functions."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.tasks import parse_int, parse_text

MAX_ADDRESSES = 20
"""The guest tells its addresses itself, and whoever owns it may tell a million."""


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """`status` is running or stopped (a paused guest runs); `lock` is "" when free. Sizes in bytes."""

    status: str
    lock: str = ""
    name: str = ""
    cores: int = 0
    memory: int = 0
    uptime_seconds: int = 0
    has_agent: bool = False
    managed_by_ha: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`taken_at` is None for one that is only half made; `parent` is "" for the first."""

    name: str
    description: str = ""
    taken_at: datetime | None = None
    parent: str = ""
    has_memory: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """`volid` is `storage:type/name`; `size` in bytes."""

    volid: str
    format: str = ""
    size: int = 0
    vmid: int | None = None
    created_at: datetime | None = None
    notes: str = ""
    is_protected: bool = False


class AddressGap(StrEnum):
    """Why a guest tells no address."""

    NOT_RUNNING = "not_running"
    NO_AGENT = "no_agent"
    SILENT = "silent"
    NONE_YET = "none_yet"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]

    @property
    def may_pass(self) -> bool:
        """Whether asking again a little later makes sense."""
        return self in (AddressGap.SILENT, AddressGap.NONE_YET)


_SENTENCES = {
    AddressGap.NOT_RUNNING: "It is not running.",
    AddressGap.NO_AGENT: "The guest agent is not enabled in its configuration, so it cannot be asked.",
    AddressGap.SILENT: "The guest agent does not answer: still booting, or not installed in the guest.",
    AddressGap.NONE_YET: "It runs, but has no address yet.",
}
# Every sentence was recorded from Proxmox VE 9.2.11.
_GAPS = {
    "is not running": AddressGap.NOT_RUNNING,
    "No QEMU guest agent configured": AddressGap.NO_AGENT,
    "QEMU guest agent is not running": AddressGap.SILENT,
}


@dataclass(frozen=True, slots=True)
class GuestAddresses:
    """IPv4 first, without loopback and link-local ones; `gap` says why there are none."""

    addresses: tuple[str, ...] = ()
    gap: AddressGap | None = None


def gap_of(refusal: str) -> AddressGap | None:
    """What a refusal of the agent's call means; None when it is about something else."""
    found = [gap for text, gap in _GAPS.items() if text in refusal]
    return found[-1] if found else None  # the agent's sentence ends like the guest's


def parse_status(data: object) -> GuestStatus:
    if not isinstance(data, dict) or not parse_text(data.get("status")):
        raise SourceUnavailable("The status of the guest cannot be read.", kind="garbage")
    ha = data.get("ha")
    return GuestStatus(
        status=parse_text(data["status"]),
        lock=parse_text(data.get("lock")),
        name=parse_text(data.get("name")),
        cores=parse_int(data.get("cpus")) or 0,
        memory=parse_int(data.get("maxmem")) or 0,
        uptime_seconds=parse_int(data.get("uptime")) or 0,
        has_agent=bool(parse_int(data.get("agent"))),
        managed_by_ha=isinstance(ha, dict) and bool(parse_int(ha.get("managed"))),
    )


def parse_snapshots(data: object) -> list[Snapshot]:
    """Oldest first; half made ones (no time yet) last."""
    found = [
        Snapshot(
            name=parse_text(row["name"]),
            description=parse_text(row.get("description")),
            taken_at=_parse_time(row.get("snaptime")),
            parent=parse_text(row.get("parent")),
            has_memory=bool(parse_int(row.get("vmstate"))),
        )
        for row in _rows(data, "snapshots")
        if parse_text(row.get("name")) not in ("", "current")
    ]
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda snapshot: (snapshot.taken_at or latest, snapshot.name))


def parse_volumes(data: object) -> list[Volume]:
    """By id."""
    found = [
        Volume(
            volid=parse_text(row["volid"]),
            format=parse_text(row.get("format")),
            size=parse_int(row.get("size")) or 0,
            vmid=parse_int(row.get("vmid")),
            created_at=_parse_time(row.get("ctime")),
            notes=parse_text(row.get("notes")),
            is_protected=bool(parse_int(row.get("protected"))),
        )
        for row in _rows(data, "volumes")
        if parse_text(row.get("volid"))
    ]
    return sorted(found, key=lambda volume: volume.volid)


def parse_agent_addresses(data: object) -> GuestAddresses:
    """`{"result": [{"name", "ip-addresses": [{"ip-address", …}]}]}`, the agent's own words."""
    result = data.get("result") if isinstance(data, dict) else None
    return _addresses(list(_told(result)))


def parse_container_addresses(data: object) -> GuestAddresses:
    """`[{"name", "inet": "10.0.0.2/24", "inet6", …}]`; null for a stopped container."""
    if data is None:
        return GuestAddresses(gap=AddressGap.NOT_RUNNING)
    return _addresses(list(_told(data)))


def _told(interfaces: object) -> Iterator[str]:
    for interface in interfaces if isinstance(interfaces, list) else []:
        if not isinstance(interface, dict) or interface.get("name") == "lo":
            continue
        for key in ("inet", "inet6"):
            yield parse_text(interface.get(key)).partition("/")[0]
        listed = interface.get("ip-addresses")
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict):
                yield parse_text(entry.get("ip-address"))


def _addresses(told: list[str]) -> GuestAddresses:
    found: dict[str, int] = {}
    for text in told:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if not (
            address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
        ):
            found[str(address)] = address.version
    if not found:
        return GuestAddresses(gap=AddressGap.NONE_YET)
    return GuestAddresses(tuple(sorted(found, key=lambda text: found[text]))[:MAX_ADDRESSES])


def _rows(data: object, what: str) -> list[dict[str, object]]:
    if not isinstance(data, list):
        raise SourceUnavailable(f"The list of {what} is not a list.", kind="garbage")
    return [row for row in data if isinstance(row, dict)]


def _parse_time(value: object) -> datetime | None:
    seconds = parse_int(value)
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None
