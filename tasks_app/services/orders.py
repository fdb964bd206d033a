"""Ordering machines: the order, its machines and what they reserve are written at once, then the pipeline makes them.

This module is the door for pages: `plan` shows, `submit_order` accepts, the deeds on an accepted order follow it, and
`progress` and `ahead_of` tell how far it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Count

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.context import current_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.models import CatalogItem, Machine, Order, Source, Stage, Team
from tasks_app.models.machine import WORKING
from tasks_app.models.team import Profile
from tasks_app.queue import Job, enqueue
from tasks_app.services import quotas
from tasks_app.services.clone_queue import count_ahead
from tasks_app.services.order_deeds import (
    cancel_machine,
    cancel_order,
    pause_order,
    resume_order,
    retry_failed,
    roll_back,
)
from tasks_app.services.order_notices import tell_approvers
from tasks_app.services.placement import facts_of
from tasks_app.services.planning import Plan, PlannedMachine, Size, Wanted, make_plan, plan
from tasks_app.services.quotas import QuotaExceeded

__all__ = [
    "OrderProgress",
    "Plan",
    "PlannedMachine",
    "Size",
    "Wanted",
    "ahead_of",
    "cancel_machine",
    "cancel_order",
    "pause_order",
    "plan",
    "progress",
    "resume_order",
    "retry_failed",
    "roll_back",
    "submit_order",
]

MAX_KEY_CHARACTERS = 64
MAX_REASON_CHARACTERS = 1000
MAX_COLLISIONS = 5
"""Orders and clones of others that may take a name or VMID between our reading and our writing."""


@dataclass(frozen=True, slots=True)
class OrderProgress:
    """How many machines stand where; `waiting` is for an approval. `groups` are causes of failures, most first."""

    done: int
    running: int
    queued: int
    failed: int
    cancelled: int
    waiting: int
    groups: list[tuple[str, int]]

    @property
    def total(self) -> int:
        return self.done + self.running + self.queued + self.failed + self.cancelled + self.waiting

    @property
    def is_final(self) -> bool:
        """Nothing moves any more by itself."""
        return not (self.running or self.queued or self.waiting)


def submit_order(
    actor: User,
    *,
    item: CatalogItem,
    team: Team,
    rows: Sequence[Wanted],
    size: Size,
    on_failure: str = Order.OnFailure.GO_ON,
    stop_after: int = 1,
    lease_days: int | None = None,
    reason: str = "",
    idempotency_key: str,
    only_valid: bool = False,
) -> Order:
    """Accept the order and reserve quota, names, VMIDs and addresses. The same key gives the first order again.

    With `only_valid` rows with a problem are left out. Raises NotPermitted, QuotaExceeded, InvalidInput: fields as in
    `Plan.problems`, and `row-<position>-<field>` for a row.
    """
    require(actor, Verb.ORDER, team=team, item=item)
    if not 0 < len(idempotency_key) <= MAX_KEY_CHARACTERS:
        raise InvalidInput(idempotency_key="The key is missing or too long.")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidInput(reason=f"Use at most {MAX_REASON_CHARACTERS} characters.")
    facts = facts_of(item)
    for _ in range(MAX_COLLISIONS):
        known = Order.objects.filter(actor=actor, idempotency_key=idempotency_key).first()
        if known is not None:
            return known
        try:
            with transaction.atomic():
                locked = quotas.lock(team)
                Source.objects.select_for_update().get(pk=item.source_id)
                if Order.objects.filter(actor=actor, idempotency_key=idempotency_key).exists():
                    continue  # the same click was a moment faster
                planned = make_plan(
                    actor,
                    item=CatalogItem.objects.select_related("source").get(pk=item.pk),
                    team=locked,
                    rows=rows,
                    size=size,
                    on_failure=on_failure,
                    stop_after=stop_after,
                    lease_days=lease_days,
                    facts=facts,
                )
                chosen = _accepted(planned, only_valid=only_valid)
                order = _write(
                    actor, item, locked, planned, chosen, on_failure, stop_after, reason, idempotency_key
                )
            return order
        except IntegrityError:
            continue
    raise InvalidInput(rows="Others took the same names or VMIDs at the same moment. Try again.")


def progress(order: Order) -> OrderProgress:
    """Two small queries."""
    rows = order.machines.values_list("stage").annotate(count=Count("pk")).order_by()
    count: Counter[str] = Counter(dict(rows))
    causes = order.machines.filter(stage=Stage.FAILED).values_list("cause").annotate(count=Count("pk"))
    return OrderProgress(
        done=count[Stage.READY] + count[Stage.GONE],
        running=sum(count[stage] for stage in WORKING),
        queued=count[Stage.QUEUED],
        failed=count[Stage.FAILED],
        cancelled=count[Stage.CANCELLED] + count[Stage.REJECTED],
        waiting=count[Stage.APPROVAL],
        groups=[(cause or "Other", number) for cause, number in causes.order_by("-count", "cause")],
    )


def ahead_of(machine: Machine) -> int:
    """Machines that get their turn before it; 0 when it does not wait in the queue."""
    return count_ahead(machine) if machine.stage == Stage.QUEUED else 0


def _accepted(planned: Plan, *, only_valid: bool) -> list[PlannedMachine]:
    """The rows to make. Raises QuotaExceeded when nothing but the quota speaks against it, else InvalidInput."""
    if planned.problems:
        raise InvalidInput(**planned.problems)
    chosen = [row for row in planned.rows if row.is_valid]
    if chosen and (only_valid or len(chosen) == len(planned.rows)):
        return chosen
    problems = {
        f"row-{row.position}-{name}": text for row in planned.rows for name, text in row.problems.items()
    }
    if all(name.endswith("-quota") for name in problems):
        refusal = next((line.refusal for line in planned.quota if not line.fits), "")
        raise QuotaExceeded(refusal or "The team's quota is used up.")
    raise InvalidInput(**problems)


def _write(
    actor: User,
    item: CatalogItem,
    team: Team,
    planned: Plan,
    chosen: list[PlannedMachine],
    on_failure: str,
    stop_after: int,
    reason: str,
    idempotency_key: str,
) -> Order:
    waits = bool(planned.needs_approval)
    order = Order.objects.create(
        source_id=item.source_id,
        item=item,
        team=team,
        title=_title(item, team, chosen),
        actor=actor,
        actor_name=actor.get_username(),
        request_id=current_origin().request_id,
        idempotency_key=idempotency_key,
        reason=reason.strip(),
        size=planned.size.key,
        on_failure=on_failure,
        stop_after=stop_after,
        decision=Order.Decision.WAITING if waits else Order.Decision.NOT_NEEDED,
    )
    keys = dict(
        Profile.objects.filter(user__in={row.owner_id for row in chosen}).values_list("user_id", "ssh_keys")
    )
    stage = Stage.APPROVAL if waits else Stage.QUEUED
    Machine.objects.bulk_create(_machine(order, item, planned, row, keys, stage) for row in chosen)
    record(
        Action.ORDER_SUBMIT,
        actor=actor,
        target=order,
        item=item.title,
        team=str(team),
        reason=order.reason,
        machines=[[row.name, row.vmid_hint] for row in chosen],
        cores=planned.size.cores,
        memory_mb=planned.size.memory_mb,
        disk_gb=chosen[0].disk_gb,
    )
    if waits:
        tell_approvers(order, len(chosen))
    else:
        transaction.on_commit(partial(enqueue, Job.PUMP))
    return order


def _machine(
    order: Order,
    item: CatalogItem,
    planned: Plan,
    row: PlannedMachine,
    keys: dict[int, str],
    stage: Stage,
) -> Machine:
    takes_keys = item.takes_ssh_keys and row.owner_id is not None
    lines = keys.get(row.owner_id, "") if takes_keys and row.owner_id is not None else ""
    return Machine(
        order=order,
        source_id=order.source_id,
        team=order.team,
        item=item,
        owner_id=row.owner_id,
        owner_name=row.owner_name,
        position=row.position,
        name=row.name,
        kind=item.guest_kind,
        vmid=row.vmid_hint,
        node=row.node,
        storage=row.storage,
        cores=row.cores,
        memory_mb=row.memory_mb,
        disk_gb=row.disk_gb,
        grow_disk_gb=planned.grow_disk_gb,
        starts=item.starts,
        ssh_keys="\n".join(line.strip() for line in lines.splitlines() if line.strip()),
        static_ip=row.static_ip or None,
        stage=stage,
        expires_at=planned.expires_at,
    )


def _title(item: CatalogItem, team: Team, chosen: list[PlannedMachine]) -> str:
    """The name of the one machine; a batch is numbered within team and item, short enough to type."""
    if len(chosen) == 1:
        return chosen[0].name
    earlier = Order.objects.filter(team=team, item=item).count()
    return f"{team.slug}-{item.slug}-batch-{earlier + 1}"
