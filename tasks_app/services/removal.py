"""Deleting a machine call by call, and writing down that one is gone.

The steps are submissions named "delete" since `delete_at`: stop when it runs, delete; protection, which somebody may
have switched on in Proxmox, is cleared when the source says so. Each next step is written when the last one has ended.
"""

import logging
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import Guest, Machine, Stage, Submission
from tasks_app.services.guest_actions import parse_action
from tasks_app.services.machine_calls import guest_of, write_submission
from tasks_app.services.notices import notify
from tasks_app.states import State

logger = logging.getLogger(__name__)

STEP = "delete"
MAX_STOPS = 2
"""It may have been started by others between our stop and our delete; more often somebody wants it to live."""
# As Proxmox VE 9.2.11 refuses to delete.
_PROTECTED, _RUNNING = "protection mode enabled", "is running"
Deed = Submission.Action


def begin_removal(machine: Machine, *, asked_by: User | None, idempotency_key: str) -> Submission:
    """Write the first step, in the caller's transaction, which holds the row. The guest goes with its disks."""
    machine.delete_at = now()
    Machine.objects.filter(pk=machine.pk).update(delete_at=machine.delete_at)
    guest = guest_of(machine)
    # Stopping a VM that is stopped is no error, but a container refuses it.
    needs_stop = guest.status == "running" or (guest.kind == Guest.QEMU and guest.status != "stopped")
    return write_submission(
        machine,
        guest,
        asked_by=asked_by,
        action=Deed.STOP if needs_stop else Deed.DELETE,
        parameters={},
        idempotency_key=idempotency_key,
        step=STEP,
    )


def removal_steps(machine: Machine) -> list[Submission]:
    """What has been asked for to delete it, oldest first; empty when it is not being deleted."""
    if machine.delete_at is None:
        return []
    steps = machine.submissions.filter(step=STEP, created_at__gte=machine.delete_at)
    return list(steps.select_related("actor").order_by("pk"))


def continue_removals() -> None:
    """Write the next step of every machine whose last one has ended. Often and in parallel is harmless."""
    for pk in list(Machine.objects.being_deleted(now()).values_list("pk", flat=True)):
        _continue(pk)


@transaction.atomic
def note_gone(machine: Machine, *, at: datetime, why: str) -> bool:
    """There is no guest any more: releases quota, VMID and address, and tells the owner. False when it was written."""
    there = Machine.objects.filter(pk=machine.pk, ended_at__isnull=True)
    if not there.update(stage=Stage.GONE, stage_at=at, ended_at=at, exists=False, delete_at=None):
        return False
    record(Action.MACHINE_GONE, actor=None, target=machine, why=why, node=machine.node)
    notify(
        [machine.owner],
        key=f"gone-{machine.pk}",
        text=f"{machine.name} is gone. {why}",
        path=f"/machines/{machine.pk}/",
    )
    logger.info("machine is gone machine=%d", machine.pk)
    return True


@transaction.atomic
def _continue(pk: int) -> None:
    rows = Machine.objects.select_for_update(of=("self",)).select_related("source", "owner", "item", "team")
    machine = rows.filter(pk=pk, ended_at__isnull=True).first()
    steps = removal_steps(machine) if machine is not None else []
    if machine is None or not steps or not steps[-1].is_final:
        return
    last = steps[-1]
    if last.state == State.COMPLETED and last.action == Deed.DELETE:
        note_gone(machine, at=now(), why=f"{last.actor_name} deleted it with its disks.")
        return
    action = _next_action(steps)
    if action is None:
        _give_up(machine, last)
        return
    write_submission(
        machine,
        guest_of(machine),
        asked_by=last.actor,
        action=action,
        parameters={},
        idempotency_key=f"machine-{pk}-delete-{steps[0].pk}-{len(steps)}",
        step=STEP,
        request_id=steps[0].request_id,
    )


def _next_action(steps: list[Submission]) -> Submission.Action | None:
    """What comes after `steps`; None when the last failure stands."""
    last, done = steps[-1], [parse_action(step.action) for step in steps]
    if last.state == State.COMPLETED:
        return Deed.DELETE
    if last.action == Deed.DELETE and last.state == State.FAILED:
        if _PROTECTED in last.error and Deed.CONFIGURE not in done:
            return Deed.CONFIGURE
        if _RUNNING in last.error and done.count(Deed.STOP) < MAX_STOPS:
            return Deed.STOP
    return None


def _give_up(machine: Machine, last: Submission) -> None:
    """Something speaks against it: it stays, quota and all, and its people are told."""
    Machine.objects.filter(pk=machine.pk).update(delete_at=None)
    notify(
        {person for person in (machine.owner, last.actor) if person is not None},
        key=f"delete-failed-{last.pk}",
        text=f"{machine.name} was not deleted. {last.get_action_display()}: {last.error or last.get_state_display()}",
        path=f"/machines/{machine.pk}/",
    )
    logger.warning("machine was not deleted machine=%d submission=%d", machine.pk, last.pk)
