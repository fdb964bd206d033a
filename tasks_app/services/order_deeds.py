"""Deeds on an accepted order: pause, resume, cancel, retry what failed, roll back. The pipeline does what they ask."""

from datetime import datetime
from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from tasks_app.access.policy import Verb, can
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import AuditEntry, CatalogItem, Guest, Machine, Order, Source, Stage
from tasks_app.models.machine import WAITING
from tasks_app.queue import Job, enqueue
from tasks_app.services import quotas
from tasks_app.services.machine_ends import remove, tell_when_done
from tasks_app.services.names import free_addresses, free_vmids, taken_names, taken_vmids
from tasks_app.services.quotas import QuotaExceeded, Usage


def may_steer(actor: User, order: Order) -> bool:
    """Who ordered it and is still in the team, the team's admins, and who may cancel tasks on the source."""
    return (
        can(actor, Verb.CANCEL, order.source)
        or can(actor, Verb.APPROVE, team=order.team)
        or (order.actor_id == actor.pk and can(actor, Verb.ORDER, team=order.team))
    )


def cancel_order(order: Order, *, actor: User) -> None:
    """Withdraw what has not begun and stop the clones that run; what exists stays. Asking twice is harmless.

    Raises NotPermitted.
    """
    _require(actor, order)
    with transaction.atomic():
        row = _lock(order)
        at = now()
        withdrawn, stopping = _withdraw(row, at)
        Order.objects.filter(pk=row.pk).update(cancel_requested_at=row.cancel_requested_at or at)
        if withdrawn or stopping:
            record(Action.ORDER_CANCEL, actor=actor, target=row, withdrawn=withdrawn, stopping=stopping)
            tell_when_done(row.pk)
        _go_on()


def cancel_machine(machine: Machine, *, actor: User) -> None:
    """Withdraw one machine that waits, or stop its clone. Asking twice is harmless.

    Raises NotPermitted; Refused when it exists already.
    """
    order = machine.order
    if not (may_steer(actor, order) or can(actor, Verb.CANCEL, machine=machine)):
        raise NotPermitted("Your role does not allow you to cancel this machine.")
    with transaction.atomic():
        row = _lock(order)
        at = now()
        one = Machine.objects.filter(pk=machine.pk)
        machine.refresh_from_db(fields=["stage", "exists", "ended_at", "cancel_requested_at"])
        if machine.stage in WAITING:
            one.update(stage=Stage.CANCELLED, stage_at=at, ended_at=at, cancel_requested_at=at)
            _close_approval(row)
        elif machine.stage == Stage.CLONE:
            if machine.cancel_requested_at is not None:
                return
            one.update(cancel_requested_at=at)
        elif machine.stage == Stage.FAILED and not machine.exists and machine.ended_at is None:
            one.update(
                stage=Stage.CANCELLED, stage_at=at, ended_at=at
            )  # a person has looked: nothing is there
        elif machine.stage == Stage.CANCELLED:
            return
        else:
            raise Refused(f"{machine} exists already. Delete it if nobody needs it.")
        record(Action.MACHINE_CANCEL, actor=actor, target=machine, order=row.pk)
        tell_when_done(row.pk)
        _go_on()


def pause_order(order: Order, *, actor: User) -> None:
    """Begin no further clone; what has begun goes on. Raises NotPermitted, Refused when nothing waits."""
    _require(actor, order)
    with transaction.atomic():
        row = _lock(order)
        if row.paused_at is not None:
            return
        if not row.machines.filter(stage__in=WAITING).exists():
            raise Refused("Nothing of this order waits any more.")
        Order.objects.filter(pk=row.pk).update(paused_at=now(), stopped_reason="")
        record(Action.ORDER_PAUSE, actor=actor, target=row)


def resume_order(order: Order, *, actor: User) -> None:
    """Go on after a pause, by a person or by the policy on failures. Raises NotPermitted."""
    _require(actor, order)
    with transaction.atomic():
        row = _lock(order)
        if row.paused_at is None:
            return
        Order.objects.filter(pk=row.pk).update(paused_at=None, stopped_reason="")
        record(Action.ORDER_RESUME, actor=actor, target=row)
        _go_on()


def retry_failed(order: Order, *, actor: User, idempotency_key: str) -> int:
    """Try what failed once more, from the step that failed; how many. The same key tries once.

    What was never made reserves quota, VMID and address again. Raises NotPermitted, QuotaExceeded, InvalidInput,
    Refused.
    """
    _require(actor, order)
    try:
        with transaction.atomic():
            team = quotas.lock(order.team)
            row = _lock(order)
            Source.objects.select_for_update().get(pk=row.source_id)
            if row.rollback_requested_at is not None:
                raise Refused("This order is being rolled back.")
            earlier = AuditEntry.objects.filter(
                action=Action.ORDER_RETRY.value, target_kind="order", target_id=str(row.pk), actor_id=actor.pk
            )
            if idempotency_key in [entry.data.get("key") for entry in earlier]:
                return 0
            failed = list(row.machines.filter(stage=Stage.FAILED).select_related("item__source", "order"))
            released = [machine for machine in failed if machine.ended_at is not None]
            if released:
                item = released[0].item
                if item is None or item.obstacle:
                    raise InvalidInput(item=item.obstacle if item else "The catalogue item was removed.")
                again = sum((_amount(machine) for machine in released), Usage())
                if refusal := quotas.refusal(team, quotas.usage(team), again):
                    raise QuotaExceeded(refusal)
            names = [machine.name for machine in failed if _retry(machine)]
            if names:
                if row.stopped_reason:
                    Order.objects.filter(pk=row.pk).update(paused_at=None, stopped_reason="")
                record(Action.ORDER_RETRY, actor=actor, target=row, machines=names, key=idempotency_key)
                _go_on()
            return len(names)
    except IntegrityError:
        raise Refused("Others took the same names or VMIDs at the same moment. Try again.") from None


def roll_back(order: Order, *, actor: User, typed: str) -> None:
    """Delete every machine of the order, whoever owns it, and withdraw the rest. Asking again tries again.

    Raises NotPermitted, InvalidInput when `typed` is not the order's title.
    """
    _require(actor, order)
    if typed.strip() != order.title:
        raise InvalidInput(typed=f"Type {order.title} to confirm.")
    with transaction.atomic():
        row = _lock(order)
        at = now()
        withdrawn, stopping = _withdraw(row, at)
        Order.objects.filter(pk=row.pk).update(
            rollback_requested_at=at, cancel_requested_at=row.cancel_requested_at or at
        )
        existing = row.machines.filter(exists=True, ended_at__isnull=True, delete_at__isnull=True)
        deleting = sum(remove(machine, actor) for machine in existing.select_for_update(of=("self",)))
        record(
            Action.ORDER_ROLLBACK,
            actor=actor,
            target=row,
            withdrawn=withdrawn,
            stopping=stopping,
            deleting=deleting,
        )
        _go_on()


def _require(actor: User, order: Order) -> None:
    if not may_steer(actor, order):
        raise NotPermitted("Your role does not allow you to change this order.")


def _lock(order: Order) -> Order:
    """The row as it is now; deeds on one order, and the starts of its clones, come one after the other."""
    return (
        Order.objects.select_for_update(of=("self",)).select_related("source", "team__group").get(pk=order.pk)
    )


def _withdraw(order: Order, at: datetime) -> tuple[int, int]:
    """How many were withdrawn from the queue, and how many clones are to be stopped."""
    waiting = order.machines.filter(stage__in=WAITING)
    withdrawn = waiting.update(stage=Stage.CANCELLED, stage_at=at, ended_at=at, cancel_requested_at=at)
    cloning = order.machines.filter(stage=Stage.CLONE, cancel_requested_at__isnull=True)
    stopping = cloning.update(cancel_requested_at=at, next_look_at=at)
    _close_approval(order)
    return withdrawn, stopping


def _close_approval(order: Order) -> None:
    """Nothing is left to decide about when nothing waits for it."""
    if not order.machines.filter(stage=Stage.APPROVAL).exists():
        waiting = Order.objects.filter(pk=order.pk, decision=Order.Decision.WAITING)
        waiting.update(decision=Order.Decision.NOT_NEEDED)


def _go_on() -> None:
    transaction.on_commit(partial(enqueue, Job.PUMP))


def _amount(machine: Machine) -> Usage:
    return Usage(1, machine.cores, machine.memory_mb, machine.disk_gb)


def _retry(machine: Machine) -> bool:
    """Put one failed machine back to the step that failed; False when that cannot be."""
    at = now()
    row = Machine.objects.filter(pk=machine.pk, stage=Stage.FAILED, attempt=machine.attempt)
    again: dict[str, object] = {
        "attempt": machine.attempt + 1,
        "stage_at": at,
        "next_look_at": at,
        "error": "",
        "cause": "",
        "leftovers": "",
        "cancel_requested_at": None,
    }
    if machine.exists:
        last = machine.submissions.filter(step__in=(Stage.CONFIGURE, Stage.RESIZE, Stage.START)).last()
        # A disk that did not grow is looked at again after the configuration, which may be set twice.
        stage = Stage.START if last is not None and last.step == Stage.START else Stage.CONFIGURE
        return bool(row.update(stage=stage, **again))
    if machine.ended_at is None:
        seen = Guest.objects.filter(
            source=machine.source_id, vmid=machine.vmid or 0, gone_at__isnull=True
        ).first()
        if seen is not None and seen.name == machine.name and not seen.lock:
            # Nobody knew whether the clone had happened. It has: our VMID, our name, finished.
            return bool(row.update(stage=Stage.CONFIGURE, exists=True, node=seen.node, **again))
        if seen is not None:
            row.update(
                error=f"{seen} exists now, and it is not known whether it is this machine. An admin must look."
            )
            return False
    return _queue_again(machine, row, again)


def _queue_again(machine: Machine, row: QuerySet[Machine], again: dict[str, object]) -> bool:
    item = machine.item
    if item is None:
        return False
    if machine.ended_at is not None and machine.name in taken_names(machine.source):
        row.update(
            error=f"Its name {machine.name} has been taken by another machine since.", cause="Name taken"
        )
        return False
    vmid = next(free_vmids(item, taken_vmids(machine.source)), None)
    static_ip = machine.static_ip
    if item.ip_mode == CatalogItem.IpMode.STATIC and machine.ended_at is not None:
        static_ip = next(free_addresses(item), None)
    if vmid is None or (item.ip_mode == CatalogItem.IpMode.STATIC and static_ip is None):
        what = "VMID" if vmid is None else "address"
        row.update(error=f"No {what} is free for it.", cause=f"No {what} free")
        return False
    node = machine.node if item.placement == CatalogItem.Placement.SAME else ""
    again |= {"vmid": vmid, "static_ip": static_ip, "node": node, "ended_at": None}
    return bool(row.update(stage=Stage.QUEUED, **again))
