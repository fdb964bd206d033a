"""Cancelling a generation task: what waits here is withdrawn, what was sent is read first and then asked to stop.

A cancel is a wish: the task may still complete, and then its result is shown. Nothing is sent to a finished task, where
the call would destroy the result in some dialects. The entry is `cancellation.cancel_task`.
"""

import logging
from datetime import timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import SourcePaused, TaskAlreadyFinished
from tasks_app.ingest import generations as ingest
from tasks_app.models import Generation, Source, Task
from tasks_app.services.cancel_wishes import TOO_LATE, ask_to_stop, claim, note, renew
from tasks_app.services.claims import CLAIM_SECONDS, kept_alive
from tasks_app.sources.errors import SourceError, SourceRefused
from tasks_app.sources.generation.base import CancelAnswer, GenerationSource
from tasks_app.states import FINAL_STATES, State

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
"""A remote that took the wish and goes on is asked again after this; it is read first each time."""
OVERDUE_LIMIT = 200

WITHDRAWN = "It was withdrawn before anything was sent."
PAST_DEADLINE = "It was withdrawn: its deadline passed before it could be sent."
UNSUPPORTED = "This provider cannot stop a task that it has taken. It goes on."
UNKNOWN_THERE = "The provider does not know this task at the moment; the portal looks again."


def cancel_generation(task: Task, *, actor: User, reason: str = "") -> None:
    """Withdraw what was not sent, without a call, also from a source that is paused or down; else note the wish.

    Asking twice is harmless. Raises NotPermitted, TaskAlreadyFinished, SourcePaused.
    """
    with transaction.atomic():
        row = lock(task.pk)
        source = row.task.source
        require(actor, Verb.CANCEL, source, generation=row)
        if row.task.is_final:
            raise TaskAlreadyFinished(f"{row.task} has already ended and cannot be cancelled.")
        was_sent = not row.is_held
        if was_sent and source.paused_at is not None:
            raise SourcePaused(f"{source.name} is paused: nothing is sent to it.")
        if not was_sent:
            withdraw(row, asked_by=actor)
        elif not ask_to_stop(row.task, actor):
            return
        record(
            Action.TASK_CANCEL,
            actor=actor,
            target=row.task,
            source=source,
            reason=reason.strip(),
            remote_id=row.task.remote_id,
            was_sent=was_sent,
        )
    task.refresh_from_db()


def withdraw(row: Generation, *, asked_by: User | None = None, words: str = WITHDRAWN) -> None:
    """End what was never sent. `row` is held and locked by the caller."""
    open_rows = Task.objects.filter(pk=row.pk, cancel_requested_at__isnull=True)
    open_rows.update(cancel_requested_at=now(), cancel_requested_by=asked_by, cancel_error="")
    ingest.end_without_remote(row.pk, state=State.CANCELLED, at=now(), note=words)
    logger.info("generation withdrawn task=%d", row.pk)


def lock(task_pk: int) -> Generation:
    """Both rows, locked until the transaction ends, in the order in which `ingest` locks them; with the source.

    Who withdraws and who sends both come through here, so that never both happen.
    """
    rows = Generation.objects.select_for_update(of=("self", "task"))
    return rows.select_related("task__source").get(pk=task_pk)


def cancel_overdue() -> None:
    """Cancel what has passed the deadline that its person gave. Each is asked once."""
    due = Generation.objects.unfinished().filter(cancel_at__lte=now())
    for pk in due.order_by("cancel_at").values_list("pk", flat=True)[:OVERDUE_LIMIT]:
        with transaction.atomic():
            row = lock(pk)
            is_first = Generation.objects.filter(pk=pk, cancel_at__isnull=False).update(cancel_at=None)
            if not is_first or row.task.is_final:
                continue
            was_sent = not row.is_held
            if not was_sent:
                withdraw(row, words=PAST_DEADLINE)
            elif not ask_to_stop(row.task, None):
                continue
            record(
                Action.TASK_CANCEL,
                actor=None,
                target=row.task,
                reason="Its deadline has passed.",
                remote_id=row.task.remote_id,
                was_sent=was_sent,
            )


def deliver_generation_cancel(task: Task, *, client: GenerationSource | None = None) -> None:
    """Bring the wish to the remote. Running it twice is harmless; what nobody knows yet waits for its answer."""
    row = Generation.objects.select_related("task__source").filter(pk=task.pk).first()
    if row is None or row.task.cancel_requested_at is None or row.task.cancel_note:
        return
    task = row.task
    if task.is_final:
        note(task, cancel_note=TOO_LATE, cancel_error="")
    elif row.is_held:
        _withdraw_if_held(task.pk)
    elif row.answered_at is not None and task.source.paused_at is None and claim(task):
        _deliver(row, client)


def _withdraw_if_held(task_pk: int) -> None:
    """It came back into the queue after the wish: the provider had not taken it."""
    with transaction.atomic():
        row = lock(task_pk)
        if row.is_held and row.task.cancel_requested_at is not None:
            withdraw(row)


def _deliver(row: Generation, client: GenerationSource | None) -> None:
    task = row.task
    try:
        with kept_alive(partial(renew, task.pk)):
            client = client or connections.generation_client_of(task.source)
            pause_seconds = _read_and_stop(row, client)
    except SourceRefused as error:
        logger.info("cancel refused task=%d kind=%s", task.pk, error.kind)
        note(
            task,
            cancel_requested_at=None,
            cancel_delivered_at=None,
            cancel_error=f"The provider refused: {error}",
        )
    except SourceError as error:
        logger.warning("cancel not delivered task=%d kind=%s", task.pk, error.kind)
        _rest(task, error.retry_after or 0.0, cancel_error=_words(error))
    else:
        if pause_seconds is not None:
            _rest(task, pause_seconds, cancel_error="")


def _read_and_stop(row: Generation, client: GenerationSource) -> float | None:
    """Seconds after which to look again, None when there is nothing left to do. Raises SourceError."""
    task = row.task
    was_tried = task.cancel_delivered_at is not None
    try:
        seen = client.fetch(row.handle)
    except SourceRefused as error:
        if error.kind != "not_found":
            raise
        if not was_tried:  # nothing was sent, so it was not us who ended it
            note(task, cancel_delivered_at=None, cancel_error=UNKNOWN_THERE)
        ingest.note_missing(task.pk, at=now())
        return None
    ingest.observe(task.pk, seen, at=now())
    if seen.state in FINAL_STATES:
        return None
    match client.cancel(row.handle):
        case CancelAnswer.REQUESTED | CancelAnswer.ALREADY_FINISHED:
            _ask_soon(row)  # how it ended, now or in the end, the poller reads
            return REPEAT_SECONDS
        case CancelAnswer.NOT_FOUND:
            ingest.note_missing(task.pk, at=now())
        case CancelAnswer.UNSUPPORTED:
            note(task, cancel_requested_at=None, cancel_delivered_at=None, cancel_error=UNSUPPORTED)
    return None


def _rest(task: Task, seconds: float, *, cancel_error: str) -> None:
    """Keep the claim for so long: the wish stands, and it is not brought again before."""
    until = now() + timedelta(seconds=max(0.0, seconds - CLAIM_SECONDS))
    if Task.objects.cancels_waiting().unfinished().filter(pk=task.pk).exists():
        note(task, cancel_delivered_at=until, cancel_error=cancel_error)


def _ask_soon(row: Generation) -> None:
    """What was just asked for should be seen at once."""
    at = now()
    Generation.objects.filter(pk=row.pk, ask_at__gt=at).update(ask_at=at, pause_seconds=0.0)
    Source.objects.filter(pk=row.task.source_id, next_pass_at__gt=at).update(next_pass_at=at)


def _words(error: SourceError) -> str:
    """Without what only staff may read: a refused key is named by its kind."""
    if error.kind == "unauthorized":
        return "The provider refuses the portal's key. The portal tries again."
    return f"{error} The portal tries again."
