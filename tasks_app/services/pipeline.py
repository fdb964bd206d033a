"""The making of machines: each stage is one submission, and a machine moves on when that has ended.

A move is one transaction: the conditional update of the stage and the row of the next call. The call itself is brought
by `submissions`, which proves after a kill whether it happened. A worker may die anywhere: the rows say what is next.
"""

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.errors import InvalidInput
from tasks_app.models import Machine, Stage, Submission
from tasks_app.models.machine import CALLING
from tasks_app.queue import Job, enqueue
from tasks_app.services import comparison, overdue
from tasks_app.services.cancel_wishes import ask_to_stop
from tasks_app.services.clone_queue import start_due
from tasks_app.services.leftovers import describe_leftovers
from tasks_app.services.machine_ends import cancel, fail, leave, make_ready
from tasks_app.services.steps import create_submission, find_submission
from tasks_app.services.submissions import deliver_submission, settle_submissions
from tasks_app.sources.errors import SourceError, SourceRefused
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.states import State

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 10.0
"""Two jobs need not look at one machine at once. If it runs out, each move is still made once: it is conditional."""
LOOK_AGAIN_SECONDS = 5.0
"""After a source that did not answer a question of ours."""
BUDGET_SECONDS = 15.0
"""A job may live 60 s and one slow call may take half of that; the rest goes into a job of its own."""
MAX_MOVES = 8
"""From the first stage to the last there are fewer."""
NOT_STARTED = "It was not started."
TOO_LATE = "The clone had finished before the cancel arrived. Delete the machine if nobody needs it."


def pump(*, client: ProxmoxSource | None = None) -> None:
    """Move on everything that is due: failures first, for they may stop an order; then clones, then the other stages.

    Cheap when nothing is due; often and in parallel is harmless. `client` replaces that of every source.
    """
    until = time.monotonic() + BUDGET_SECONDS
    settle_submissions()
    overdue.stop_overdue()
    due = _due_machines(now())
    for pk, is_bad in due:
        if is_bad:
            advance(pk, client=client)
    started: list[int] = []
    queues = Machine.objects.startable().order_by().values_list("source_id", flat=True)
    for source_pk in queues.distinct():
        started += start_due(source_pk)
    for pk in started + [pk for pk, is_bad in due if not is_bad]:
        if time.monotonic() > until:
            enqueue(Job.PUMP)
            return
        advance(pk, client=client)


def advance(machine_pk: int, *, client: ProxmoxSource | None = None) -> None:
    """Move one machine on as far as it goes now. Running it twice, or in parallel, is harmless."""
    if not _claim(machine_pk):
        return
    try:
        for _ in range(MAX_MOVES):
            machine = _read(machine_pk)
            if machine.stage not in CALLING or not _move(machine, client):
                return
    finally:
        Machine.objects.filter(pk=machine_pk).update(lease_until=None)


def _claim(pk: int) -> bool:
    at = now()
    free = Machine.objects.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=at), pk=pk)
    return free.update(lease_until=at + timedelta(seconds=CLAIM_SECONDS)) == 1


def _read(pk: int) -> Machine:
    related = ("source", "team__group", "item__source", "order__actor", "order__team")
    return Machine.objects.select_related(*related).get(pk=pk)


def _due_machines(at: datetime) -> list[tuple[int, bool]]:
    """Machines whose step has ended, has not been called, or is to be stopped; True for those that did not succeed."""
    due = []
    for machine in Machine.objects.calling(at):
        submission = find_submission(machine, machine.stage)
        if submission is None or not submission.is_final:
            waits = submission is not None and submission.answered_at is not None
            if not waits or machine.cancel_requested_at is not None:
                due.append((machine.pk, False))
        else:
            due.append((machine.pk, submission.state != State.COMPLETED))
    return due


def _move(machine: Machine, client: ProxmoxSource | None) -> bool:
    """One step further; False when there is nothing more to do now."""
    submission = find_submission(machine, machine.stage)
    if submission is None:  # after a retry: the stage was set, and its call is still to be written down
        return _enter(machine, Stage(machine.stage))
    if not submission.is_final:
        if machine.cancel_requested_at is not None and not _stop(machine, submission):
            return _find_state(submission) is not None
        if submission.answered_at is None:
            deliver_submission(submission.pk, client=client)
        return _find_state(submission) is not None
    if submission.state == State.COMPLETED:
        return _completed(machine, submission, client)
    _not_completed(machine, submission, client)
    return False


def _find_state(submission: Submission) -> str | None:
    """The final state, None while there is none."""
    submission.refresh_from_db(fields=["state"])
    return submission.state if submission.is_final else None


def _completed(machine: Machine, submission: Submission, client: ProxmoxSource | None) -> bool:
    match machine.stage:
        case Stage.CLONE:
            return _note_clone(machine, submission, client)
        case Stage.CONFIGURE | Stage.RESIZE:
            return _compare(machine, client)
    return _enter(machine, Stage.ADDRESS)


def _note_clone(machine: Machine, submission: Submission, client: ProxmoxSource | None) -> bool:
    """There is a guest now. What is to be done with it next depends on what was wanted meanwhile."""
    if machine.cancel_requested_at is not None:
        with transaction.atomic():
            machine.exists = True
            if cancel(machine, TOO_LATE):
                Machine.objects.filter(pk=machine.pk).update(exists=True, vmid=submission.new_vmid)
        return False
    made: dict[str, object] = {"exists": True, "vmid": submission.new_vmid}
    if submission.action == Submission.Action.CREATE:
        return _compare(machine, client, made)
    return _enter(machine, Stage.CONFIGURE, made)


def _compare(machine: Machine, client: ProxmoxSource | None, made: dict[str, object] | None = None) -> bool:
    """Read the guest back: what is not as ordered is noted, and a disk that is too small grows."""
    try:
        seen = comparison.compare(machine, client or connections.client_of(machine.source))
    except SourceRefused as error:
        seen = comparison.Seen([f"The result could not be compared with the order: {error}"])
    except SourceError as error:
        logger.info("guest cannot be read now machine=%d kind=%s", machine.pk, error.kind)
        again = now() + timedelta(seconds=LOOK_AGAIN_SECONDS)
        Machine.objects.filter(pk=machine.pk, stage=machine.stage).update(next_look_at=again)
        return False
    made = (made or {}) | {"differences": seen.differences}
    if seen.small_disk and machine.stage != Stage.RESIZE:
        return _enter(machine, Stage.RESIZE, made, disk=seen.small_disk)
    if machine.starts:
        return _enter(machine, Stage.START, made)
    with transaction.atomic():
        Machine.objects.filter(pk=machine.pk, stage=machine.stage, attempt=machine.attempt).update(**made)
        addresses = [machine.static_ip] if machine.static_ip else []
        make_ready(machine, addresses=addresses, note=NOT_STARTED)
    return False


def _enter(
    machine: Machine, stage: Stage, values: Mapping[str, object] | None = None, *, disk: str = ""
) -> bool:
    """Move to `stage` and write down its call; False when somebody else was faster."""
    with transaction.atomic():
        if not leave(machine, stage, **(values or {})):
            return False
        if stage not in CALLING:
            first_look = now() + timedelta(seconds=LOOK_AGAIN_SECONDS)
            Machine.objects.filter(pk=machine.pk).update(next_look_at=first_look)
            return False
        try:
            with transaction.atomic():
                create_submission(machine, stage, at=machine.stage_at, disk=disk)
        except InvalidInput as error:
            fail(machine, str(error))
            return False
    logger.info("machine enters machine=%d stage=%s", machine.pk, stage)
    return True


def _stop(machine: Machine, submission: Submission) -> bool:
    """Stop a clone that is not wanted any more. True when it may still have to be brought, to learn its task."""
    uncalled = Submission.objects.unfinished().filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=now()),
        pk=submission.pk,
        called_at__isnull=True,
        answered_at__isnull=True,
    )
    if uncalled.update(state=State.CANCELLED, ended_at=now(), error="It was withdrawn before it was sent."):
        return False
    task = submission.tasks.first()
    if task is not None:
        ask_to_stop(task, None)
    return True


def _not_completed(machine: Machine, submission: Submission, client: ProxmoxSource | None) -> None:
    """The step failed, was stopped, or nobody knows."""
    is_clone = machine.stage == Stage.CLONE
    is_unknown = submission.state == State.LOST
    leftovers = "" if not is_clone or is_unknown else _leftovers(machine, submission, client)
    with transaction.atomic():
        if is_clone and machine.cancel_requested_at is not None and not is_unknown:
            cancel(machine, leftovers=leftovers)
            return
        error = submission.error
        if submission.state == State.CANCELLED:
            error = f"Its {submission.get_action_display().lower()} was stopped. {error}".strip()
        fail(
            machine, error or "It failed without a reason.", keeps_reservation=is_unknown, leftovers=leftovers
        )


def _leftovers(machine: Machine, submission: Submission, client: ProxmoxSource | None) -> str:
    """What the clone left; "" when its call never started a task."""
    task = submission.tasks.select_related("submission").first()
    if task is None:
        return ""
    try:
        return describe_leftovers(client or connections.client_of(machine.source), task)
    except SourceError as error:
        return f"The portal could not look for leftovers: {error}"
