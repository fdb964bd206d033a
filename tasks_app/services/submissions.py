"""Starting something on a guest: written down first, then brought to the source, then followed to its end.

A submission is open until its task has ended. `called_at` without `answered_at` means that nobody knows whether the
call happened: such a row is reconciled (`reconciliation.py`), never simply called again.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.context import current_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, SourcePaused
from tasks_app.models import Guest, Machine, Source, Submission, Task
from tasks_app.queue import Job, enqueue
from tasks_app.services.beginnings import show_task
from tasks_app.services.delivery import MAX_REPEATS, back_off, bring, claim, locked_guest
from tasks_app.services.guest_actions import missing_privilege, parse_action, parse_parameters, unfitness
from tasks_app.services.reservations import says_vmid_is_taken
from tasks_app.services.time_limits import note_overdue
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.states import State

logger = logging.getLogger(__name__)

MAX_KEY_CHARACTERS = 64
PICK_UP_LIMIT = 200


def submit_guest_action(
    guest: Guest, *, actor: User, action: str, parameters: Mapping[str, Any], idempotency_key: str
) -> Submission:
    """Ask for `action` on `guest`. The same key of the same person gives the first submission again, for ever.

    Raises NotPermitted, SourcePaused, InvalidInput (action, idempotency_key, or a name of `parameters`).
    """
    source = Source.objects.get(pk=guest.source_id)
    require(actor, Verb.START, source)
    if not 0 < len(idempotency_key) <= MAX_KEY_CHARACTERS:
        raise InvalidInput(idempotency_key="The key is missing or too long.")
    known = Submission.objects.filter(actor=actor, idempotency_key=idempotency_key).first()
    if known is not None:
        return known
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is sent to it.")
    if guest.gone_at is not None:
        raise InvalidInput(action=f"{guest} does not exist any more.")
    chosen = parse_action(action)
    values = parse_parameters(chosen, guest, parameters)
    try:
        with transaction.atomic():
            submission = Submission.objects.create(
                source=source,
                action=chosen,
                guest_kind=guest.kind,
                node=guest.node,
                vmid=guest.vmid,
                guest_name=guest.name,
                parameters=values,
                actor=actor,
                actor_name=actor.get_username(),
                request_id=current_origin().request_id,
                idempotency_key=idempotency_key,
            )
            record(
                Action.SUBMIT,
                actor=actor,
                target=submission,
                vmid=guest.vmid,
                node=guest.node,
                parameters=values,
            )
            transaction.on_commit(partial(enqueue, Job.DELIVER, submission.pk))
    except IntegrityError:  # the same click arrived twice at the same moment
        return Submission.objects.get(actor=actor, idempotency_key=idempotency_key)
    return submission


def obstacle(guest: Guest, action: str) -> str:
    """Why `action` would not work on `guest` now, as far as the last pass knows; "" when nothing speaks against it.

    For pages: what is sent nevertheless is decided by the source, whose facts are newer.
    """
    chosen, source = parse_action(action), guest.source
    if source.paused_at is not None:
        return f"{source.name} is paused: nothing is sent to it."
    if guest.gone_at is not None:
        return f"{guest} does not exist any more."
    unfit = unfitness(chosen, guest)
    if unfit:
        return unfit
    return missing_privilege(chosen, source, vmid=guest.vmid, pool=guest.pool)


def deliver_submission(pk: int, *, client: ProxmoxSource | None = None) -> None:
    """Bring one submission to its source, or find out what came of an earlier call. Running it twice is harmless."""
    submission = claim(pk)
    if submission is None:
        return
    bring(submission, client)
    if submission.remote_id:
        # An idle source is visited every 5 s; what was just asked for should be seen at once.
        Source.objects.filter(pk=submission.source_id).update(next_pass_at=now())


def settle_submissions() -> None:
    """End the submissions whose task has ended, repeat those that met a lock, and note what is overdue.

    Looks at open submissions only, so it may be called often; right after a kill it does what was left.
    """
    for submission in (
        Submission.objects.unfinished().filter(answered_at__isnull=False).select_related("source")
    ):
        task = Task.objects.filter(source=submission.source, remote_id=submission.remote_id).first()
        if task is None or task.submission_id is None:
            with transaction.atomic():
                show_task(submission)
        if task is not None and task.is_final:
            _settle(submission, task)
    note_overdue()


def pick_up_submissions() -> None:
    """Settle what has ended, and enqueue again what is due and in nobody's hands."""
    settle_submissions()
    due = Submission.objects.deliverable(now())
    for pk in due.order_by("next_attempt_at").values_list("pk", flat=True)[:PICK_UP_LIMIT]:
        enqueue(Job.DELIVER, pk)


def _settle(submission: Submission, task: Task) -> None:
    open_row = Submission.objects.unfinished().filter(pk=submission.pk, remote_id=submission.remote_id)
    repeat = _repeat_of(submission, task)
    if repeat:
        with transaction.atomic():
            if open_row.update(**repeat):
                logger.info("submission met a lock and is repeated submission=%d", submission.pk)
                if "new_vmid" in repeat and submission.machine_id is not None:
                    # its machine is not promised a VMID that others have
                    promised = Machine.objects.filter(pk=submission.machine_id, vmid=submission.new_vmid)
                    promised.update(vmid=None)
        return
    error = "" if task.state == State.COMPLETED else task.error_line or task.exit_text
    open_row.update(state=task.state, ended_at=task.ended_at or now(), error=error)


def _repeat_of(submission: Submission, task: Task) -> dict[str, Any]:
    """What to write so that the call is made again; empty when the failure stands."""
    if task.state != State.FAILED or submission.attempts >= MAX_REPEATS:
        return {}
    again: dict[str, Any] = {
        "state": State.PENDING,
        "remote_id": "",
        "called_at": None,
        "answered_at": None,
        "next_attempt_at": now() + back_off(submission.attempts),
    }
    locked = locked_guest(task.exit_text)
    if locked == submission.vmid:
        return again | {"error": "Something held the lock of the guest; the portal tries again."}
    if submission.new_vmid is not None and (
        locked == submission.new_vmid or says_vmid_is_taken(task.exit_text)
    ):
        return again | {
            "new_vmid": None,
            "error": f"VMID {submission.new_vmid} was taken; the portal tries another.",
        }
    return {}
