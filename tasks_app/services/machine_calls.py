"""The rows of what is done to a machine's guest: which guest it is, and one submission for each call."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.audit.context import current_origin
from tasks_app.models import Guest, Machine, Submission
from tasks_app.queue import Job, enqueue
from tasks_app.services.guest_actions import parse_parameters

PORTAL = "portal"
"""The name that deeds of nobody carry, as in the audit trail."""


def guest_of(machine: Machine) -> Guest:
    """The guest's row as last seen; before the first look an unsaved one that tells what the portal knows."""
    found = Guest.objects.filter(source=machine.source_id, vmid=machine.vmid or 0).first()
    return found or Guest(
        source=machine.source,
        vmid=machine.vmid or 0,
        kind=machine.kind,
        name=machine.name,
        node=machine.node,
        status="unknown",
        seen_at=now(),
    )


def write_submission(
    machine: Machine,
    guest: Guest,
    *,
    asked_by: User | None,
    action: Submission.Action,
    parameters: Mapping[str, Any],
    idempotency_key: str,
    step: str = "",
    request_id: str | None = None,
) -> Submission:
    """One call on the guest of `machine`, brought after the commit. Permission and audit are the caller's.

    `request_id` is that of the click behind it where a job goes on with what was asked for.
    Raises InvalidInput (a parameter), IntegrityError when `asked_by` has used the key.
    """
    submission = Submission.objects.create(
        source_id=machine.source_id,
        machine=machine,
        step=step,
        action=action,
        guest_kind=guest.kind,
        node=guest.node,
        vmid=guest.vmid,
        guest_name=guest.name or machine.name,
        parameters=parse_parameters(action, guest, parameters),
        actor=asked_by,
        actor_name=asked_by.get_username() if asked_by is not None else PORTAL,
        request_id=current_origin().request_id if request_id is None else request_id,
        idempotency_key=idempotency_key,
    )
    transaction.on_commit(partial(enqueue, Job.DELIVER, submission.pk))
    return submission
