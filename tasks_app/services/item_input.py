"""Settings of a catalogue item, checked: nothing can be ordered from it that its template or the quota cannot bear."""

import ipaddress
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from tasks_app.errors import InvalidInput
from tasks_app.models import CatalogItem
from tasks_app.services.names import format_name, name_problem
from tasks_app.services.source_offers import Template

MIN_VMID, MAX_VMID = 100, 999_999_999
MAX_CORES, MAX_MEMORY_MB, MAX_DISK_GB = 512, 8 * 1024 * 1024, 128 * 1024
MAX_LEASE_DAYS, MAX_GRACE_DAYS = 3650, 365
MAX_SIZES = 12
MAX_POOL = 65_536
ICONS = (
    "box", "server", "monitor", "container", "database", "globe", "terminal", "flask-conical", "graduation-cap",
    "code", "cpu", "hard-drive", "shield", "network", "brain", "gamepad-2",
)  # fmt: skip
_SLUG = re.compile(r"(?!-)[a-z0-9-]{1,30}(?<!-)")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,11}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_TOKEN = re.compile(r"\{(?:team|item|nn(?::0?\d)?)\}")
_REMOTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/]{0,99}")
Kind, Placement, IpMode, Approval = (
    CatalogItem.Kind,
    CatalogItem.Placement,
    CatalogItem.IpMode,
    CatalogItem.Approval,
)


@dataclass(frozen=True, slots=True)
class Size:
    """`disk_gb` is what the growing disk shall have, 0 as the template has it."""

    key: str
    label: str
    cores: int
    memory_mb: int
    disk_gb: int = 0


@dataclass(frozen=True, slots=True)
class AddressPool:
    """As an admin writes it; `first` to `last` are given away."""

    network: str = ""
    first: str = ""
    last: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What an admin decides about an item; fields and defaults are those of `CatalogItem`."""

    slug: str
    title: str
    description: str = ""
    icon: str = "box"
    full_clone: bool = True
    storage: str = ""
    placement: str = Placement.SAME
    nodes: tuple[str, ...] = ()
    pool: str = ""
    vmid_from: int = MIN_VMID
    vmid_to: int = MAX_VMID
    name_pattern: str = "{team}-{item}-{nn:02}"
    sizes: tuple[Size, ...] = ()
    allows_custom: bool = False
    max_cores: int = 4
    max_memory_mb: int = 8192
    max_disk_gb: int = 100
    ci_user: str = ""
    takes_ssh_keys: bool = True
    ip_mode: str = IpMode.NONE
    ip_pool: AddressPool = AddressPool()
    bridge: str = ""
    starts: bool = True
    lease_days: int | None = None
    max_lease_days: int | None = None
    deletes_after_lease: bool = False
    grace_days: int = 7
    approval: str = Approval.NEVER
    approval_above_cores: int | None = None
    approval_above_memory_mb: int | None = None
    approval_above_disk_gb: int | None = None
    approval_above_count: int | None = None
    cancels_overdue: bool = False

    def as_row(self) -> dict[str, Any]:
        """Field → value of the table; sizes and the pool as JSON."""
        row = asdict(self)
        row["nodes"] = list(self.nodes)
        row["sizes"] = list(row["sizes"])
        row["ip_pool"] = row["ip_pool"] if self.ip_mode == IpMode.STATIC else {}
        return row


def clean_settings(given: ItemSettings, template: Template) -> ItemSettings:
    """`given` in its final form. Raises InvalidInput with a sentence for each field that cannot be."""
    problems: dict[str, str] = {}
    settings = _normalise(given, template)
    for check in (_what, _where, _sizes, _network, _lifetime, _approval):
        problems.update(
            {name: text for name, text in check(settings, template).items() if name not in problems}
        )
    if problems:
        raise InvalidInput(**problems)
    return settings


def example_name(pattern: str, slug: str) -> str:
    """What the seventh machine of a team would be called."""
    return format_name(pattern, team="research", item=slug or "item", number=7)


def _normalise(given: ItemSettings, template: Template) -> ItemSettings:
    """Blanks cut off, and what does not apply to this kind of template put to rest."""
    is_vm = template.kind == Kind.QEMU_CLONE
    pool = given.ip_pool
    return replace(
        given,
        slug=given.slug.strip().lower(),
        title=" ".join(given.title.split()),
        description=given.description.strip(),
        name_pattern=given.name_pattern.strip(),
        full_clone=given.full_clone or template.kind == Kind.LXC_CREATE,
        ci_user=given.ci_user.strip() if is_vm else "",
        takes_ssh_keys=given.takes_ssh_keys and template.kind != Kind.LXC_CLONE,
        bridge="" if is_vm else given.bridge,
        nodes=tuple(sorted(set(given.nodes))) if given.placement == Placement.FIXED else (),
        deletes_after_lease=given.deletes_after_lease and given.lease_days is not None,
        ip_pool=AddressPool(*(text.strip() for text in (pool.network, pool.first, pool.last, pool.gateway))),
    )


def _what(settings: ItemSettings, template: Template) -> dict[str, str]:
    problems = {}
    if not 1 <= len(settings.title) <= 80:
        problems["title"] = "Give it a title of at most 80 characters."
    if len(settings.description) > 2000:
        problems["description"] = "Use at most 2000 characters."
    if not _SLUG.fullmatch(settings.slug):
        problems["slug"] = "Use at most 30 letters, digits and - (not at the ends)."
    if settings.icon not in ICONS:
        problems["icon"] = "Pick one of the icons."
    if not settings.full_clone and not template.is_template:
        problems["full_clone"] = (
            "Only a template can be cloned linked; this is a guest that can run and change."
        )
    if not settings.full_clone and settings.storage:
        problems["storage"] = "A linked clone stands beside its template; it takes no storage of its own."
    rest = _TOKEN.sub("", settings.name_pattern)
    if "{" in rest or "}" in rest:
        problems["name_pattern"] = "Use {team}, {item} and {nn:02}, and letters, digits and - around them."
    elif len(settings.name_pattern) > 80:
        problems["name_pattern"] = "Use at most 80 characters."
    elif "slug" not in problems and (
        problem := name_problem(example_name(settings.name_pattern, settings.slug))
    ):
        problems["name_pattern"] = (
            f"It makes “{example_name(settings.name_pattern, settings.slug)}”. {problem}"
        )
    return problems


def _where(settings: ItemSettings, template: Template) -> dict[str, str]:
    problems = {}
    creates = template.kind == Kind.LXC_CREATE
    if creates and not settings.storage:
        problems["storage"] = "Pick where the disk of the new container is made."
    for name in ("storage", "pool", "bridge"):
        value = getattr(settings, name)
        if value and not _REMOTE_NAME.fullmatch(value):
            problems[name] = "Pick one of the list."
    if settings.placement not in Placement.values:
        problems["placement"] = "Pick one of the list."
    elif creates and settings.placement == Placement.SAME:
        problems["placement"] = "An OS template stands on no node: let the portal choose, or name nodes."
    elif settings.placement == Placement.FIXED and not settings.nodes:
        problems["nodes"] = "Pick at least one node."
    if any(not _REMOTE_NAME.fullmatch(node) for node in settings.nodes):
        problems["nodes"] = "Pick nodes of the list."
    if not MIN_VMID <= settings.vmid_from <= MAX_VMID:
        problems["vmid_from"] = f"Proxmox takes {MIN_VMID} to {MAX_VMID}."
    elif not settings.vmid_from <= settings.vmid_to <= MAX_VMID:
        problems["vmid_to"] = f"Give a number from {settings.vmid_from} to {MAX_VMID}."
    return problems


def _sizes(settings: ItemSettings, template: Template) -> dict[str, str]:
    """Problems of single sizes all stand at `sizes`, with their names."""
    least = max(template.disk_gb, 1 if template.kind == Kind.LXC_CREATE else 0)
    texts: list[str] = []
    keys = [size.key for size in settings.sizes]
    if not keys and not settings.allows_custom:
        texts.append("Give at least one size, or let members choose their own.")
    if len(keys) > MAX_SIZES:
        texts.append(f"Use at most {MAX_SIZES} sizes.")
    if len({key.lower() for key in keys}) < len(keys):
        texts.append("Two sizes have the same short name.")
    for size in settings.sizes:
        texts += _size(size, least, template)
    problems = {"sizes": " ".join(dict.fromkeys(texts))} if texts else {}
    if settings.allows_custom:
        if not 1 <= settings.max_cores <= MAX_CORES:
            problems["max_cores"] = f"Give a number from 1 to {MAX_CORES}."
        if not 16 <= settings.max_memory_mb <= MAX_MEMORY_MB:
            problems["max_memory_mb"] = "Give at least 16 MiB."
        if not max(least, 1) <= settings.max_disk_gb <= MAX_DISK_GB:
            problems["max_disk_gb"] = f"Give {max(least, 1)} to {MAX_DISK_GB} GiB: a disk only grows."
    return problems


def _size(size: Size, least: int, template: Template) -> list[str]:
    texts = []
    who = f"Size {size.key or '?'}"
    if not _KEY.fullmatch(size.key) or size.key.lower() == "custom":
        texts.append(f"{who}: use up to 12 letters, digits and - as its short name, and not “custom”.")
    if len(size.label) > 40:
        texts.append(f"{who}: use at most 40 characters as its name.")
    if not 1 <= size.cores <= MAX_CORES or not 16 <= size.memory_mb <= MAX_MEMORY_MB:
        texts.append(f"{who}: give 1 to {MAX_CORES} cores and at least 16 MiB of memory.")
    if size.disk_gb > MAX_DISK_GB or (size.disk_gb or template.disk_gb) < least:
        texts.append(f"{who}: a disk only grows; give at least {least} GiB{_or_nothing(template)}.")
    return texts


def _or_nothing(template: Template) -> str:
    return ", or 0 for the size it has" if template.kind != Kind.LXC_CREATE else ""


def _network(settings: ItemSettings, template: Template) -> dict[str, str]:
    problems = {}
    if settings.ci_user and not _USER.fullmatch(settings.ci_user):
        problems["ci_user"] = "Use a Linux user name: small letters, digits, - and _."
    if settings.ip_mode not in IpMode.values:
        problems["ip_mode"] = "Pick one of the list."
    needs_bridge = template.kind == Kind.LXC_CREATE or (
        template.kind == Kind.LXC_CLONE and settings.ip_mode != IpMode.NONE
    )
    if needs_bridge and not settings.bridge:
        problems["bridge"] = "Pick the bridge of the container's network."
    if settings.ip_mode == IpMode.STATIC:
        problems |= _pool(settings.ip_pool)
    return problems


def _pool(pool: AddressPool) -> dict[str, str]:
    try:
        network = ipaddress.ip_network(pool.network)
    except ValueError:
        return {"ip_network": "Write it as 10.20.30.0/24, without bits behind the prefix."}
    ends: dict[str, ipaddress.IPv4Address | ipaddress.IPv6Address] = {}
    problems = {}
    for name in ("first", "last", "gateway"):
        text = getattr(pool, name)
        if name == "gateway" and not text:
            continue
        try:
            ends[name] = ipaddress.ip_address(text)
        except ValueError:
            problems[f"ip_{name}"] = "This is no IP address."
            continue
        if ends[name] not in network:
            problems[f"ip_{name}"] = f"It is not in {network}."
        elif network.num_addresses > 2 and ends[name] in (network.network_address, network.broadcast_address):
            problems[f"ip_{name}"] = "This address is the network's own."
    if problems:
        return problems
    first, last, gateway = int(ends["first"]), int(ends["last"]), ends.get("gateway")
    if last < first:
        return {"ip_last": "The last address is below the first."}
    if last - first >= MAX_POOL:
        return {"ip_last": f"Use at most {MAX_POOL} addresses."}
    if gateway is not None and first <= int(gateway) <= last:
        return {"ip_gateway": "The gateway is one of the addresses that are given away."}
    return {}


def _lifetime(settings: ItemSettings, template: Template) -> dict[str, str]:
    problems = {}
    lease, most = settings.lease_days, settings.max_lease_days
    if lease is not None and not 1 <= lease <= MAX_LEASE_DAYS:
        problems["lease_days"] = f"Give 1 to {MAX_LEASE_DAYS} days, or nothing for no end."
    if most is not None and not (lease or 1) <= most <= MAX_LEASE_DAYS:
        problems["max_lease_days"] = f"Give {lease or 1} to {MAX_LEASE_DAYS} days, or nothing for no limit."
    if most is not None and lease is None:
        problems["lease_days"] = "A lease that may be extended only so far needs a length."
    if not 0 <= settings.grace_days <= MAX_GRACE_DAYS:
        problems["grace_days"] = f"Give 0 to {MAX_GRACE_DAYS} days."
    return problems


def _approval(settings: ItemSettings, template: Template) -> dict[str, str]:
    above = [
        settings.approval_above_cores,
        settings.approval_above_memory_mb,
        settings.approval_above_disk_gb,
        settings.approval_above_count,
    ]
    if settings.approval not in Approval.values:
        return {"approval": "Pick one of the list."}
    if settings.approval == Approval.ABOVE and all(limit is None for limit in above):
        return {"approval_above_count": "Say above what it needs approval: give at least one limit."}
    if any(limit is not None and not 0 <= limit <= MAX_MEMORY_MB for limit in above[:3]):
        return {"approval": "Limits are numbers that are not negative."}
    count = settings.approval_above_count
    if count is not None and not 0 <= count <= 1000:
        return {"approval_above_count": "Give a number up to 1000."}
    return {}
