"""The one call of a submission: claim, reserve, note the intent, call, note the answer; reconcile after a kill."""

import logging
import re
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import Submission
from tasks_app.services.beginnings import note_beginning
from tasks_app.services.claims import CLAIM_SECONDS, kept_alive
from tasks_app.services.guest_actions import MAKES_GUEST, WITHOUT_TASK, send
from tasks_app.services.reconciliation import AlreadyDone, Happened, TooEarly, Unclear, find_proof, is_gone
from tasks_app.services.reservations import reserve_vmid, says_vmid_is_taken
from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.states import State

logger = logging.getLogger(__name__)

DELIVER_WITHIN = timedelta(minutes=15)
"""Nobody wants a guest stopped an hour after the click because its cluster has come back."""
ASK_WITHIN = timedelta(days=1)
"""How long a source that does not answer is asked what came of a call."""
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 120
MAX_REPEATS = 5
"""Of a call that met a lock which is held for a moment only."""
MAX_VMIDS = 5
MAX_UPID_CHARACTERS = 1000

# The lock file names the guest it belongs to; a clone of a running guest holds its source's for a moment.
# For a VM `lock-100.conf`, for a container `pve-config-100.lock`.
_LOCK_TIMEOUT = re.compile(
    r"can't lock file '[^']*/(?:lock-|pve-config-)(\d{1,9})\.(?:conf|lock)' - got timeout"
)


def back_off(attempts: int) -> timedelta:
    """Pause after that many attempts: 5 s after the first, doubled each time up to 2 minutes."""
    doubled = FIRST_PAUSE_SECONDS * 2 ** min(max(attempts, 1) - 1, 10)
    return timedelta(seconds=min(doubled, LONGEST_PAUSE_SECONDS))


def locked_guest(text: str) -> int | None:
    """The guest whose lock could not be had in time: the one error that is safe to repeat."""
    match = _LOCK_TIMEOUT.search(text)
    return int(match[1]) if match else None


def claim(pk: int) -> Submission | None:
    """The submission, leased to the caller; None when it is not due, ended, answered, or in other hands.

    `attempts` counts the claims and so tells this one from every other: who holds an older one writes nothing more.
    """
    at = now()
    lease_until = at + timedelta(seconds=CLAIM_SECONDS)
    free = Submission.objects.unfinished().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=at),
        pk=pk,
        answered_at__isnull=True,
        next_attempt_at__lte=at,
    )
    if not free.update(lease_until=lease_until, attempts=F("attempts") + 1):
        return None
    return (
        Submission.objects.select_related("source", "machine__item")
        .filter(pk=pk, lease_until=lease_until)
        .first()
    )


def bring(submission: Submission, client: ProxmoxSource | None) -> None:
    """Make the call, or find out what came of the one noted before. Ends with the lease given back.

    The lease is renewed as long as this process lives. Sets `remote_id` when the source has started a task; a deed
    without a task is completed here. Raises nothing that a source can cause.
    """
    with kept_alive(partial(_renew, submission.pk, submission.attempts)):
        _bring(submission, client)


def _renew(pk: int, attempts: int) -> None:
    mine = Submission.objects.unfinished().filter(
        pk=pk, attempts=attempts, lease_until__isnull=False, answered_at__isnull=True
    )
    mine.update(lease_until=now() + timedelta(seconds=CLAIM_SECONDS))


def _bring(submission: Submission, client: ProxmoxSource | None) -> None:
    is_too_late = now() - submission.created_at > DELIVER_WITHIN
    if submission.source.paused_at is not None:
        if submission.called_at is None and is_too_late:
            _give_up(submission)
        else:
            _try_later(submission, "The source is paused.")
        return
    try:
        client = client or connections.client_of(submission.source)
        if submission.called_at is not None and not _reconcile(submission, client):
            return
        if is_too_late:
            _give_up(submission)
            return
        if submission.action in MAKES_GUEST and submission.new_vmid is None:
            reserve_vmid(client, submission)
    except SourceRefused as error:
        _end(submission, State.FAILED, describe_refusal(error, submission))
        return
    except (SourceUnavailable, SourceNeedsPerson) as error:
        _try_later(submission, str(error))
        return
    _call(submission, client)


def describe_refusal(error: SourceRefused, submission: Submission) -> str:
    """The refusal for people; a missing privilege is named where the source names it."""
    if error.kind != "forbidden":
        return str(error)
    token = submission.source.token_id
    if error.privilege:
        return f"The token {token} may not do this: it lacks {error.privilege} on {error.path}."
    if submission.action in MAKES_GUEST:
        pool = submission.parameters.get("pool")
        where = f"/pool/{pool}" if pool else "/vms (or choose a pool on which it has it)"
        return f"The token {token} may not do this. It probably lacks VM.Allocate on {where}."
    return f"The token {token} may not do this: {error}"


def _reconcile(submission: Submission, client: ProxmoxSource) -> bool:
    """True when it is proven that nothing happened, so that the call may be made."""
    verdict = find_proof(client, submission, at=now())
    if isinstance(verdict, Happened):
        logger.info("call was carried out submission=%d", submission.pk)
        _note_answer(submission, verdict.remote_id)
        return False
    if isinstance(verdict, AlreadyDone):
        logger.info("source is as was asked submission=%d", submission.pk)
        _complete(submission)
        return False
    if isinstance(verdict, TooEarly):
        _try_later(
            submission, "It is not known yet whether the source has carried it out; the portal looks again."
        )
        return False
    if isinstance(verdict, Unclear):
        _end_unknown(submission, verdict.reason)
        return False
    logger.info("call was not carried out submission=%d", submission.pk)
    return _save(submission, called_at=None)


def _call(submission: Submission, client: ProxmoxSource) -> None:
    for _ in range(MAX_VMIDS):
        if not _note_call(submission):
            return
        try:
            remote_id = send(client, submission)
        except OutcomeUnknown as error:
            _try_later(submission, str(error))
            return
        except (SourceUnavailable, SourceNeedsPerson) as error:  # certainly not carried out
            if _save(submission, called_at=None):
                _try_later(submission, str(error))
            return
        except SourceRefused as error:
            if says_vmid_is_taken(str(error)) and _take_next_vmid(submission, client):
                continue
            _refused(submission, error, client)
            return
        if submission.action in WITHOUT_TASK:
            _complete(submission)
        else:
            _note_answer(submission, remote_id)
        return
    _end(submission, State.FAILED, f"{MAX_VMIDS} VMIDs in a row were taken by others. Nothing was made.")


def _take_next_vmid(submission: Submission, client: ProxmoxSource) -> bool:
    if submission.new_vmid is None or not _save(submission, called_at=None):
        return False
    try:
        reserve_vmid(client, submission, above=submission.new_vmid)
    except SourceError:
        return False
    return True


def _refused(submission: Submission, error: SourceRefused, client: ProxmoxSource) -> None:
    if locked_guest(str(error)) == submission.vmid and submission.attempts < MAX_REPEATS:
        if _save(submission, called_at=None):
            _try_later(submission, "Something held the lock of the guest; the portal tries again.")
        return
    if submission.action == Submission.Action.DELETE and _has_gone(submission, client):
        _complete(submission)
        return
    _end(submission, State.FAILED, describe_refusal(error, submission))


def _has_gone(submission: Submission, client: ProxmoxSource) -> bool:
    """With the guest went the token's right on it through the pool: a DELETE of it is forbidden, not unknown."""
    try:
        return is_gone(client, submission.vmid)
    except SourceError:
        return False


def _note_call(submission: Submission) -> bool:
    """Write the intent. False when the row was lost."""
    at = now()
    return _save(submission, called_at=at, lease_until=at + timedelta(seconds=CLAIM_SECONDS))


def _note_answer(submission: Submission, remote_id: str) -> None:
    """Written whoever holds the row by now: an answer is never thrown away."""
    if len(remote_id) > MAX_UPID_CHARACTERS or not remote_id.isprintable():
        _end_unknown(submission, "The source answered with something that names no task.")
        return
    values = {
        "remote_id": remote_id,
        "answered_at": now(),
        "state": State.PROCESSING,
        "error": "",
        "lease_until": None,
    }
    row = Submission.objects.unfinished().filter(pk=submission.pk, answered_at__isnull=True)
    with transaction.atomic():
        if row.update(**values):
            submission.remote_id = remote_id
            note_beginning(submission)


def _complete(submission: Submission) -> None:
    """The end of a deed without a task, in one write, whoever holds the row by now: what is done stays done."""
    at = now()
    row = Submission.objects.unfinished().filter(pk=submission.pk, answered_at__isnull=True)
    row.update(state=State.COMPLETED, answered_at=at, ended_at=at, error="", lease_until=None)


def _give_up(submission: Submission) -> None:
    minutes = int(DELIVER_WITHIN.total_seconds() // 60)
    reason = f" Last: {submission.error}" if submission.error else ""
    _end(
        submission, State.FAILED, f"It could not be sent within {minutes} minutes. Nothing was done.{reason}"
    )


def _try_later(submission: Submission, error: str) -> None:
    if submission.called_at is not None and now() - submission.called_at > ASK_WITHIN:
        _end_unknown(submission, f"The source could not be asked for a day. {error}")
        return
    logger.info("submission waits submission=%d attempts=%d", submission.pk, submission.attempts)
    _save(submission, next_attempt_at=now() + back_off(submission.attempts), error=error, lease_until=None)


def _end_unknown(submission: Submission, reason: str) -> None:
    text = f"It is not known whether this was carried out. {reason} Look on the source before you try again."
    _end(submission, State.LOST, text)


def _end(submission: Submission, state: State, error: str) -> None:
    logger.info("submission ends without a task submission=%d state=%s", submission.pk, state)
    _save(submission, state=state, error=error, ended_at=now(), lease_until=None)


def _save(submission: Submission, **values: Any) -> bool:
    """Write, unless the row has gone into other hands."""
    mine = Submission.objects.unfinished().filter(
        pk=submission.pk, attempts=submission.attempts, answered_at__isnull=True
    )
    if not mine.update(**values):
        return False
    for name, value in values.items():
        setattr(submission, name, value)
    return True
