"""Leases: reminders, shutting down at the end, deleting after the grace period where the item says so.

A machine is moved on by conditional updates of `reminded_days`, so the job may run twice, in parallel, or days late:
late it tells the most urgent thing once. A source that is paused or silent is waited for.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.timezone import localtime, now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import Machine, Submission
from tasks_app.models.machine import MachineQuerySet
from tasks_app.services.lease_times import REMIND_DAYS, due_reminder, told_at_first
from tasks_app.services.machine_calls import guest_of, write_submission
from tasks_app.services.notices import notify
from tasks_app.services.removal import begin_removal, removal_steps
from tasks_app.states import State

logger = logging.getLogger(__name__)

STEP = "lease"
PLUG_AFTER = timedelta(minutes=5)
"""A guest that did not obey the shutdown at the end of its lease is switched off this long after the failure."""
Deed = Submission.Action


def run_leases(*, at: datetime | None = None) -> None:
    """Remind, end, and delete what is due at `at`."""
    at = at or now()
    for machine in _machines(expires_at__gt=at, expires_at__lte=at + timedelta(days=max(REMIND_DAYS))):
        _remind(machine, at)
    answering = {"source__paused_at__isnull": True, "source__failing_since__isnull": True}
    for machine in _machines(expires_at__lte=at, **answering):
        if machine.reminded_days != 0:
            _end_lease(machine.pk, at)
        else:
            _pull_plug(machine.pk, at)
    for machine in _machines(delete_at__lte=at, expires_at__lte=at, **answering):
        _delete(machine.pk, at)


def _machines(**conditions: object) -> list[Machine]:
    found = Machine.objects.standing().filter(**conditions).select_related("owner", "item", "team")
    return list(found.order_by("pk"))


def _remind(machine: Machine, at: datetime) -> None:
    assert machine.expires_at is not None
    told = machine.reminded_days
    if told is None:
        told = told_at_first(machine.expires_at - (machine.ready_at or machine.created_at))
    days = due_reminder(machine.expires_at - at, told=told)
    if days is None:
        return
    with transaction.atomic():
        mine = Machine.objects.standing().filter(
            pk=machine.pk, expires_at=machine.expires_at, reminded_days=machine.reminded_days
        )
        if not mine.update(reminded_days=days):
            return
        _tell(
            machine,
            f"{days}",
            f"The lease of {machine.name} ends on {_day(machine.expires_at)}. {_what_then(machine)}",
        )


def _end_lease(pk: int, at: datetime) -> None:
    """Tell, ask the guest to shut down, and say when it will be deleted. The grace begins now, also when late."""
    with transaction.atomic():
        machine = _lock(pk, at)
        if machine is None or machine.reminded_days == 0:
            return
        item = machine.item
        delete_at = (
            at + timedelta(days=item.grace_days) if item is not None and item.deletes_after_lease else None
        )
        Machine.objects.filter(pk=pk).update(reminded_days=0, delete_at=delete_at)
        guest = guest_of(machine)
        words = f"The lease of {machine.name} has ended."
        if guest.status != "stopped" and guest.gone_at is None:
            submission = write_submission(
                machine,
                guest,
                asked_by=None,
                action=Deed.SHUTDOWN,
                parameters={},
                idempotency_key=f"machine-{pk}-lease-end-{int(at.timestamp())}",
                step=STEP,
            )
            words += " It is being shut down."
        else:
            submission = None
        record(
            Action.MACHINE_LEASE_END,
            actor=None,
            target=machine,
            deed="shutdown" if submission else "none",
            submission=submission.pk if submission else None,
            delete_at=delete_at.isoformat() if delete_at else None,
        )
        words += (
            f" It will be deleted with its disks on {_day(delete_at)} unless you extend the lease."
            if delete_at
            else " Extend the lease to use it again."
        )
        _tell(machine, "0", words)
        logger.info("lease has ended machine=%d deletes=%s", pk, delete_at is not None)


def _pull_plug(pk: int, at: datetime) -> None:
    """The guest did not obey and runs on after its lease: switched off, once."""
    failed = Submission.objects.filter(
        machine=pk, step=STEP, action=Deed.SHUTDOWN, state=State.FAILED, ended_at__lte=at - PLUG_AFTER
    )
    if not failed.exists():
        return
    with transaction.atomic():
        machine = _lock(pk, at)
        if machine is None or machine.reminded_days != 0 or machine.expires_at is None:
            return
        guest = guest_of(machine)
        steps = machine.submissions.filter(step=STEP, created_at__gte=machine.expires_at).order_by("-pk")
        last = steps.first()
        if (
            guest.status != "running"
            or last is None
            or last.action != Deed.SHUTDOWN
            or last.state != State.FAILED
        ):
            return
        submission = write_submission(
            machine,
            guest,
            asked_by=None,
            action=Deed.STOP,
            parameters={},
            idempotency_key=f"machine-{pk}-lease-stop-{last.pk}",
            step=STEP,
        )
        record(Action.MACHINE_LEASE_END, actor=None, target=machine, deed="stop", submission=submission.pk)


def _delete(pk: int, at: datetime) -> None:
    """The grace period is over. An item that does not ask for it any more saves the machine."""
    with transaction.atomic():
        machine = _lock(pk, at)
        if machine is None or machine.delete_at is None or machine.delete_at > at or removal_steps(machine):
            return
        if machine.item is None or not machine.item.deletes_after_lease:
            Machine.objects.filter(pk=pk).update(delete_at=None)
            return
        submission = begin_removal(
            machine, asked_by=None, idempotency_key=f"machine-{pk}-lease-delete-{int(at.timestamp())}"
        )
        record(Action.MACHINE_LEASE_END, actor=None, target=machine, deed="delete", submission=submission.pk)


def _lock(pk: int, at: datetime) -> Machine | None:
    """The row as it is now, held until the end of the transaction; None when its lease runs on or it is gone."""
    rows: MachineQuerySet = Machine.objects.standing()
    return (
        rows.select_for_update(of=("self",))
        .select_related("source", "owner", "item", "team")
        .filter(pk=pk, expires_at__lte=at)
        .first()
    )


def _tell(machine: Machine, what: str, text: str) -> None:
    """Once for each end of the lease: an extension gives it another."""
    assert machine.expires_at is not None
    until = f"{machine.expires_at:%Y%m%dT%H%M%S}"
    people = [machine.owner] if machine.owner is not None else list(machine.team.admins.all())
    notify(people, key=f"lease-{machine.pk}-{until}-{what}", text=text, path=f"/machines/{machine.pk}/")


def _what_then(machine: Machine) -> str:
    item = machine.item
    if item is not None and item.deletes_after_lease:
        return f"Then it is shut down, and deleted with its disks {item.grace_days} days later. You can extend it."
    return "Then it is shut down. You can extend it."


def _day(at: datetime) -> str:
    return f"{localtime(at):%d %b %Y, %H:%M}"
