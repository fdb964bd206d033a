"""How a machine's making ends: ready, failed, cancelled; what an order does after failures; who is told."""

import re
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils.timezone import now

from tasks_app.models import Machine, Order, Stage
from tasks_app.models.machine import WAITING, WORKING
from tasks_app.progress.failures import explain_failure
from tasks_app.services.order_notices import tell_orderer
from tasks_app.services.removal import begin_removal

MAX_CAUSE_CHARACTERS = 80
MAX_ERROR_CHARACTERS = 2000


def cause_of(error: str) -> str:
    """What failures have in common, for grouping: the known failure's name, else the error without its numbers."""
    known = explain_failure(error)
    if known is not None and not re.search(r"\d", known.title):
        return known.title[:MAX_CAUSE_CHARACTERS]
    text = known.title if known is not None else error.strip().partition("\n")[0]
    text = re.sub(r"'[^']*'|“[^”]*”", "…", text)
    text = re.sub(r"\d+", "…", text)
    return text[: MAX_CAUSE_CHARACTERS - 1] + "…" if len(text) > MAX_CAUSE_CHARACTERS else text or "Other"


def fail(machine: Machine, error: str, *, keeps_reservation: bool = False, leftovers: str = "") -> bool:
    """Write the failure, and stop the order where it says so. Call it inside a transaction.

    What was never made gives its quota, VMID and address back, unless it is not known whether it was made
    (`keeps_reservation`).
    """
    at = now()
    ended_at = None if machine.exists or keeps_reservation else at
    if not leave(
        machine,
        Stage.FAILED,
        error=error[:MAX_ERROR_CHARACTERS],
        cause=cause_of(error),
        ended_at=ended_at,
        leftovers=leftovers,
    ):
        return False
    _stop_order(machine.order_id, error)
    tell_when_done(machine.order_id)
    return True


def leave(machine: Machine, stage: Stage, **values: object) -> bool:
    """From the stage that `machine` has in memory to `stage`; False when somebody else has moved it."""
    at = now()
    row = Machine.objects.filter(pk=machine.pk, stage=machine.stage, attempt=machine.attempt)
    changed = {"stage": stage, "stage_at": at, "next_look_at": at, **values}
    if not row.update(**changed):
        return False
    for name, value in changed.items():
        setattr(machine, name, value)
    return True


def make_ready(machine: Machine, *, addresses: list[str], note: str = "") -> bool:
    """It stands. Its lease counts from now, not from the order. Call it inside a transaction."""
    at = now()
    values: dict[str, object] = {
        "addresses": addresses,
        "address_note": note,
        "ready_at": at,
        "error": "",
        "cause": "",
    }
    if machine.expires_at is not None and machine.ready_at is None:
        values["expires_at"] = machine.expires_at + _waited(machine, at)
    if not leave(machine, Stage.READY, **values):
        return False
    tell_when_done(machine.order_id)
    return True


def cancel(machine: Machine, note: str = "", *, leftovers: str = "") -> bool:
    """It will not be made, as was asked for. Call it inside a transaction.

    One that exists nevertheless keeps what it holds until it is deleted, which a roll back does at once.
    """
    ended_at = None if machine.exists else now()
    if not leave(machine, Stage.CANCELLED, error=note, cause="", ended_at=ended_at, leftovers=leftovers):
        return False
    if machine.exists and machine.order.rollback_requested_at is not None:
        remove(machine, machine.order.actor)
    tell_when_done(machine.order_id)
    return True


def remove(machine: Machine, asked_by: User | None) -> int:
    """Delete a machine of an order that is rolled back; 1. What was still being made of it ends here."""
    if machine.stage in WORKING:
        leave(machine, Stage.CANCELLED, error="")
    key = f"machine-{machine.pk}-rollback-{machine.submissions.count()}"
    begin_removal(machine, asked_by=asked_by, idempotency_key=key)
    return 1


def tell_when_done(order_pk: int) -> None:
    """One notice when nothing of the order moves any more; another when that is so again after a retry."""
    order = Order.objects.select_related("actor").get(pk=order_pk)
    stages = list(order.machines.values_list("stage", "attempt"))
    moving = {*WAITING, *WORKING}
    if any(stage in moving for stage, _ in stages):
        return
    ready = sum(stage == Stage.READY for stage, _ in stages)
    failed = sum(stage == Stage.FAILED for stage, _ in stages)
    if not ready and not failed:
        return
    words = [f"{ready} ready"] * bool(ready) + [f"{failed} failed"] * bool(failed)
    text = (
        f"{order.title}: {', '.join(words)}"
        if len(stages) > 1
        else f"{order.title} {'is ready' if ready else 'failed'}"
    )
    attempts = sum(attempt for _, attempt in stages)
    tell_orderer(order, key=f"done-{attempts}", text=f"{text}.")


def _stop_order(order_pk: int, error: str) -> None:
    order = Order.objects.get(pk=order_pk)
    if order.on_failure == Order.OnFailure.GO_ON:
        return
    limit = 1 if order.on_failure == Order.OnFailure.STOP_FIRST else max(1, order.stop_after)
    failed = order.machines.filter(stage=Stage.FAILED).count()
    if failed < limit or not order.machines.filter(stage=Stage.QUEUED).exists():
        return
    reason = f"Stopped after {failed} failure{'' if failed == 1 else 's'}: {error[:200]}"
    if Order.objects.filter(pk=order_pk, paused_at__isnull=True).update(
        paused_at=now(), stopped_reason=reason
    ):
        tell_orderer(order, key=f"stopped-{failed}", text=f"{order.title}: {reason}")


def _waited(machine: Machine, at: datetime) -> timedelta:
    return at - machine.created_at
