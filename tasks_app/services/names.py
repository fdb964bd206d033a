"""What a new machine may be called, which VMID and which address it may have: free ones, counted through the gaps."""

import ipaddress
import re
from collections.abc import Iterator

from tasks_app.models import CatalogItem, Guest, Machine, Source, Submission

MAX_NAME_CHARACTERS = 63
"""Proxmox takes 300; a guest cannot set a longer host name, and a label of DNS is no longer."""
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_PLACE = re.compile(r"\{(team|item|nn)(?::0?(\d))?\}")
_MAX_POOL = 65_536


def clean_name(name: str) -> str:
    """As it is kept and compared: DNS knows no capitals."""
    return name.strip().lower()


def name_problem(name: str) -> str:
    """Why this cannot be a host name; "" when it can."""
    if not name:
        return "Give it a name."
    if len(name) > MAX_NAME_CHARACTERS:
        return f"Use at most {MAX_NAME_CHARACTERS} characters; this has {len(name)}."
    if not _HOST_NAME.fullmatch(name):
        return "Use letters, digits and - (not at the ends), in parts joined by dots."
    return ""


def format_name(pattern: str, *, team: str, item: str, number: int) -> str:
    """`{team}-{item}-{nn:02}` → `web-debian-07`. A pattern without a number gets one at its end."""
    if "{nn" not in pattern:
        pattern += "-{nn}"

    def fill(match: re.Match[str]) -> str:
        if match[1] == "nn":
            return f"{number:0{match[2] or 1}d}"
        return team if match[1] == "team" else item

    return clean_name(_PLACE.sub(fill, pattern))


def free_names(item: CatalogItem, team_slug: str, taken: set[str]) -> Iterator[str]:
    """Names of the item's pattern that nobody has, lowest number first; gaps are filled. Endless."""
    number = 0
    while True:
        number += 1
        name = format_name(item.name_pattern, team=team_slug, item=item.slug, number=number)
        if name not in taken:
            yield name


def taken_names(source: Source) -> set[str]:
    """Names of guests that the source has, and of machines that are promised one."""
    guests = Guest.objects.filter(source=source, gone_at__isnull=True).exclude(name="")
    machines = Machine.objects.filter(source=source).holding_quota()
    return {
        clean_name(name)
        for names in (guests.values_list("name", flat=True), machines.values_list("name", flat=True))
        for name in names
    }


def taken_vmids(source: Source) -> set[int]:
    """VMIDs of guests, and those promised to machines and open submissions."""
    guests = Guest.objects.filter(source=source, gone_at__isnull=True).values_list("vmid", flat=True)
    machines = Machine.objects.filter(source=source, vmid__isnull=False).holding_quota()
    promised = Submission.objects.unfinished().filter(source=source, new_vmid__isnull=False)
    taken = {*guests, *promised.values_list("new_vmid", flat=True)}
    return {vmid for vmid in (*taken, *machines.values_list("vmid", flat=True)) if vmid is not None}


def free_vmids(item: CatalogItem, taken: set[int]) -> Iterator[int]:
    """VMIDs of the item's range that nobody has, lowest first."""
    return (vmid for vmid in range(item.vmid_from, item.vmid_to + 1) if vmid not in taken)


def free_addresses(item: CatalogItem) -> Iterator[str]:
    """Addresses of the item's pool that no machine is promised, lowest first; none when the pool is unusable."""
    try:
        first = ipaddress.ip_address(item.ip_pool["first"])
        last = ipaddress.ip_address(item.ip_pool["last"])
    except (KeyError, ValueError, TypeError):
        return
    held = Machine.objects.filter(source=item.source, static_ip__isnull=False).holding_quota()
    taken = {ipaddress.ip_address(text) for text in held.values_list("static_ip", flat=True) if text}
    count = min(int(last) - int(first) + 1, _MAX_POOL) if first.version == last.version else 0
    for offset in range(count):
        address = first + offset
        if address not in taken:
            yield str(address)


def cidr_of(item: CatalogItem, address: str) -> str:
    """`10.20.30.50/24`, with the prefix of the pool's network."""
    network = ipaddress.ip_network(item.ip_pool["network"], strict=False)
    return f"{address}/{network.prefixlen}"
