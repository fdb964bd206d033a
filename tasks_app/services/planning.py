"""What would come of an order: one row per machine, what speaks against it, quota, approval, and how long it takes.

Reads only. The same plan is made once more inside the transaction that accepts the order, where it decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.models import CatalogItem, Order, Team
from tasks_app.services import expectations, quotas
from tasks_app.services.names import (
    clean_name,
    free_addresses,
    free_names,
    free_vmids,
    name_problem,
    taken_names,
    taken_vmids,
)
from tasks_app.services.placement import Facts, Placer, facts_of
from tasks_app.services.quotas import QuotaLine, Usage

MAX_MACHINES = 300
"""In one order; a longer list is two orders."""
CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One row as the member gave it. Without a name the pattern gives one; `owner` is a user name, "" the member."""

    name: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """`key` names a size of the item, whose numbers then hold, or is "custom". `disk_gb` 0 is as in the template."""

    cores: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    key: str = CUSTOM


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """`node` "" is decided when it starts. `disk_gb` counts all disks; `problems` maps a field to a sentence.

    Fields of problems: name, owner, vmid, ip, quota.
    """

    position: int
    name: str
    owner: str
    owner_name: str
    owner_id: int | None
    node: str
    storage: str
    vmid_hint: int | None
    static_ip: str
    cores: int
    memory_mb: int
    disk_gb: int
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Plan:
    """`problems` are about the whole order: item, rows, size, cores, memory_mb, disk_gb, lease_days, on_failure."""

    rows: list[PlannedMachine]
    size: Size
    problems: dict[str, str]
    quota: list[QuotaLine]
    needs_approval: str
    advice: str
    ahead: int
    usual: str
    expires_at: datetime | None
    lease_days: int | None
    grow_disk_gb: int

    @property
    def valid_count(self) -> int:
        return 0 if self.problems else sum(row.is_valid for row in self.rows)

    @property
    def is_clean(self) -> bool:
        """Everything that was asked for can be made."""
        return not self.problems and bool(self.rows) and all(row.is_valid for row in self.rows)


def plan(
    actor: User,
    *,
    item: CatalogItem,
    team: Team,
    rows: Sequence[Wanted],
    size: Size,
    on_failure: str = Order.OnFailure.GO_ON,
    stop_after: int = 1,
    lease_days: int | None = None,
    facts: Facts | None = None,
) -> Plan:
    """For the preview and the summary. Waits at most a moment for the source. Raises NotPermitted."""
    require(actor, Verb.ORDER, team=team, item=item)
    return make_plan(
        actor,
        item=item,
        team=team,
        rows=rows,
        size=size,
        on_failure=on_failure,
        stop_after=stop_after,
        lease_days=lease_days,
        facts=facts or facts_of(item),
    )


def make_plan(
    actor: User,
    *,
    item: CatalogItem,
    team: Team,
    rows: Sequence[Wanted],
    size: Size,
    on_failure: str,
    stop_after: int,
    lease_days: int | None,
    facts: Facts | None,
) -> Plan:
    """The plan by tables and `facts` alone: no network."""
    problems: dict[str, str] = {}
    if item.obstacle:
        problems["item"] = item.obstacle
    if not rows:
        problems["rows"] = "Nothing is ordered."
    elif len(rows) > MAX_MACHINES:
        problems["rows"] = f"At most {MAX_MACHINES} machines fit into one order; these are {len(rows)}."
        rows = rows[:MAX_MACHINES]
    if on_failure not in Order.OnFailure.values:
        problems["on_failure"] = "Choose what happens when one fails."
    elif on_failure == Order.OnFailure.STOP_AFTER and not 1 <= stop_after <= MAX_MACHINES:
        problems["on_failure"] = f"Stop after 1 to {MAX_MACHINES} failures."
    size, size_problems = resolve_size(item, size)
    days, lease_problem = _lease(item, lease_days)
    problems |= size_problems | ({"lease_days": lease_problem} if lease_problem else {})
    disk_gb = max(item.template_disks_gb, item.template_disk_gb) + max(
        0, size.disk_gb - item.template_disk_gb
    )
    each = Usage(1, size.cores, size.memory_mb, disk_gb)
    planned = list(_plan_rows(actor, item, team, rows, each, facts))
    used = quotas.usage(team)
    planned, wanted = _within_quota(team, planned, used, each)
    return Plan(
        rows=planned,
        size=size,
        problems=problems,
        quota=quotas.lines(team, used, wanted),
        needs_approval=_needs_approval(item, size, sum(row.is_valid for row in planned)),
        advice=expectations.advice(item, len(planned)),
        ahead=expectations.ahead(item),
        usual=expectations.usual(item),
        expires_at=now() + timedelta(days=days) if days else None,
        lease_days=days,
        grow_disk_gb=size.disk_gb if size.disk_gb > item.template_disk_gb else 0,
    )


def resolve_size(item: CatalogItem, size: Size) -> tuple[Size, dict[str, str]]:
    """The numbers that hold for the chosen size, and what is wrong with them."""
    for known in item.sizes:
        if str(known.get("key")) == size.key:
            disk_gb = max(int(known.get("disk_gb") or 0), item.template_disk_gb)
            return Size(int(known["cores"]), int(known["memory_mb"]), disk_gb, size.key), {}
    if size.key != CUSTOM:
        return size, {"size": f"There is no size “{size.key[:40]}”."}
    if not item.allows_custom:
        return size, {"size": "Choose one of the sizes of this item."}
    problems = {}
    if not 1 <= size.cores <= item.max_cores:
        problems["cores"] = f"Choose 1 to {item.max_cores} cores."
    if not 64 <= size.memory_mb <= item.max_memory_mb:
        problems["memory_mb"] = f"Choose 64 to {item.max_memory_mb} MiB of memory."
    disk_gb = size.disk_gb or item.template_disk_gb
    most = max(item.max_disk_gb, item.template_disk_gb)
    if disk_gb < item.template_disk_gb:
        problems["disk_gb"] = f"The template's disk has {item.template_disk_gb} GiB; a disk can only grow."
    elif disk_gb > most:
        problems["disk_gb"] = f"Choose at most {most} GiB of disk."
    elif disk_gb == 0 and item.kind == CatalogItem.Kind.LXC_CREATE:
        problems["disk_gb"] = "Say how large the disk shall be."
    return replace(size, disk_gb=disk_gb), problems


def _lease(item: CatalogItem, asked: int | None) -> tuple[int | None, str]:
    """Days, and what is wrong with them. Nothing asked: the item's own, at most its maximum."""
    most = item.max_lease_days
    if asked is None:
        days = item.lease_days or most
        return (min(days, most) if days and most else days), ""
    if asked < 1 or asked > 36_500:
        return None, "Choose a number of days."
    if most and asked > most:
        return most, f"This item is lent for {most} days at most."
    return asked, ""


def _plan_rows(
    actor: User,
    item: CatalogItem,
    team: Team,
    rows: Sequence[Wanted],
    each: Usage,
    facts: Facts | None,
) -> Iterator[PlannedMachine]:
    members = {user.get_username(): user for user in team.group.user_set.filter(is_active=True)}
    given = [clean_name(row.name) for row in rows]
    taken = taken_names(item.source)
    fresh = free_names(item, team.slug, taken | set(given))
    vmids = free_vmids(item, taken_vmids(item.source))
    is_static = item.ip_mode == CatalogItem.IpMode.STATIC
    addresses = free_addresses(item) if is_static else iter(())
    placer = Placer(item, facts)
    for position, row in enumerate(rows, 1):
        problems: dict[str, str] = {}
        name = given[position - 1] or next(fresh)
        if problem := name_problem(name) or _clash(name, given, position, taken):
            problems["name"] = problem
        owner, problem = _owner(actor, row.owner.strip(), members, team)
        if problem:
            problems["owner"] = problem
        vmid = next(vmids, None)
        if vmid is None:
            problems["vmid"] = f"Every VMID from {item.vmid_from} to {item.vmid_to} is taken."
        address = next(addresses, "")
        if is_static and not address:
            problems["ip"] = "The pool of addresses is used up."
        yield PlannedMachine(
            position=position,
            name=name,
            owner=owner.get_username() if owner else row.owner,
            owner_name=(owner.get_full_name() or owner.get_username()) if owner else row.owner,
            owner_id=owner.pk if owner else None,
            node=placer.place(each.memory_mb),
            storage=item.storage if item.full_clone or item.kind == CatalogItem.Kind.LXC_CREATE else "",
            vmid_hint=vmid,
            static_ip=address,
            cores=each.cores,
            memory_mb=each.memory_mb,
            disk_gb=each.disk_gb,
            problems=problems,
        )


def _clash(name: str, given: list[str], position: int, taken: set[str]) -> str:
    if name in taken:
        return "This name is taken on the source."
    first = given.index(name) + 1 if name in given else position
    return f"Row {first} has this name already." if first < position else ""


def _owner(actor: User, asked: str, members: dict[str, User], team: Team) -> tuple[User | None, str]:
    """By user name or address; without one the member who orders."""
    if not asked:
        return actor, ""
    owner = members.get(asked) or next(
        (user for user in members.values() if user.email and user.email.lower() == asked.lower()), None
    )
    if owner is None and asked == actor.get_username():
        owner = actor
    return (owner, "") if owner else (None, f"“{asked[:60]}” is not a member of {team}.")


def _within_quota(
    team: Team, rows: list[PlannedMachine], used: Usage, each: Usage
) -> tuple[list[PlannedMachine], Usage]:
    """Rows with a problem where the quota is used up, and what all rows without other problems want together."""
    wanted, granted, judged = Usage(), Usage(), []
    for row in rows:
        if row.is_valid:
            wanted += each
            if problem := quotas.refusal(team, used, granted + each):
                row = replace(row, problems={"quota": problem})
            else:
                granted += each
        judged.append(row)
    return judged, wanted


def _needs_approval(item: CatalogItem, size: Size, count: int) -> str:
    """Why somebody must approve it; "" when nobody must."""
    if item.approval == CatalogItem.Approval.ALWAYS:
        return "Every order of this item is approved by a team admin."
    if item.approval == CatalogItem.Approval.NEVER:
        return ""
    limits = (
        (size.cores, item.approval_above_cores, "{} cores"),
        (size.memory_mb, item.approval_above_memory_mb, "{} MiB of memory"),
        (size.disk_gb, item.approval_above_disk_gb, "{} GiB of disk"),
        (count, item.approval_above_count, "{} machines at once"),
    )
    over = [words.format(limit) for value, limit, words in limits if limit is not None and value > limit]
    return f"More than {' and '.join(over)} is approved by a team admin." if over else ""
