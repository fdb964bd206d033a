"""Cancelling a task: what a person asks for, its delivery to the source, and what is left behind.

The one way in for every kind of task; those of generation sources go on in `generation_cancellation`. How a wish
stands in the row is told in `cancel_wishes`.
"""

import logging
import time
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import PrivilegeMissing, SourcePaused, TaskAlreadyFinished
from tasks_app.models import Source, Task
from tasks_app.progress.outcome import classify, was_stopped
from tasks_app.queue import Job, enqueue
from tasks_app.services import generation_cancellation
from tasks_app.services.cancel_wishes import (
    ENDED_BY_ITSELF,
    TOO_LATE,
    ask_to_stop,
    claim,
    note,
    renew,
    undelivered,
)
from tasks_app.services.claims import kept_alive
from tasks_app.services.leftovers import describe_leftovers
from tasks_app.sources.base import TaskObservation
from tasks_app.sources.errors import SourceError, SourceRefused
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.permissions import parse_permissions
from tasks_app.states import State

logger = logging.getLogger(__name__)

END_LOOKS = 3
END_PAUSE_SECONDS = 1.0
"""The source answers when the worker is gone; its list may take a moment more."""
PICK_UP_LIMIT = 200


@transaction.atomic
def cancel_task(task: Task, *, actor: User, reason: str = "") -> None:
    """Ask the source to stop `task`. Its new state arrives with a later pass. Asking twice is harmless.

    Raises NotPermitted, TaskAlreadyFinished, SourcePaused, PrivilegeMissing.
    """
    if task.is_generation:
        generation_cancellation.cancel_generation(task, actor=actor, reason=reason)
        return
    source = Source.objects.get(pk=task.source_id)
    require(actor, Verb.CANCEL, source, machine=task.machine)
    task.refresh_from_db(fields=["state", "cancel_requested_at"])
    if task.is_final:
        raise TaskAlreadyFinished(f"{task} has already ended.")
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is sent to it.")
    obstacle = cancel_obstacle(task, source)
    if obstacle is not None:
        raise obstacle
    if not ask_to_stop(task, actor):
        return
    record(
        Action.TASK_CANCEL,
        actor=actor,
        target=task,
        source=source,
        reason=reason.strip(),
        upid=task.remote_id,
    )


def cancel_obstacle(task: Task, source: Source) -> PrivilegeMissing | None:
    """Why the token of `source` may not stop `task`: only tasks of others need a privilege. None when it may.

    While the permissions have not been read yet the source itself will say.
    """
    owner = f"{task.remote_user}!{task.remote_token}" if task.remote_token else task.remote_user
    if owner == source.token_id or source.permissions_at is None:
        return None
    path = f"/nodes/{task.node}"
    if parse_permissions(source.permissions).allows(path, "Sys.Modify"):
        return None
    return PrivilegeMissing(
        f"This task was started by {owner}. To stop tasks of others, the token {source.token_id} needs "
        f"Sys.Modify on {path}.",
        privilege="Sys.Modify",
        path=path,
    )


def deliver_cancel(task_pk: int, *, client: ProxmoxSource | None = None) -> None:
    """Stop the task on its source, which blocks up to 5 s, and look what it left. Running it twice is harmless."""
    task = Task.objects.select_related("source", "submission").filter(pk=task_pk).first()
    if task is not None and task.is_generation:
        generation_cancellation.deliver_generation_cancel(task)
        return
    if task is None or task.source.paused_at is not None or not claim(task):
        return
    try:
        with kept_alive(partial(renew, task.pk)):
            _stop(task, client or connections.client_of(task.source))
    except SourceRefused as error:
        logger.info("cancel refused task=%d kind=%s", task.pk, error.kind)
        if task.is_final:
            note(task, cancel_error="", cancel_note=f"The portal could not look for leftovers: {error}")
            return
        note(task, cancel_requested_at=None, cancel_delivered_at=None, cancel_error=_words(error, task))
    except SourceError as error:
        logger.warning("cancel not delivered task=%d kind=%s", task.pk, error.kind)
        note(task, cancel_delivered_at=None, cancel_error=f"{error} The portal tries again.")


def pick_up_cancels() -> None:
    """Enqueue again what was asked for and not finished. A source that fails is asked at the poller's pace."""
    waiting = undelivered(now()).filter(source__paused_at__isnull=True)
    resting = Q(source__failing_since__isnull=False, source__next_pass_at__gt=now())
    for pk in waiting.exclude(resting).values_list("pk", flat=True)[:PICK_UP_LIMIT]:
        enqueue(Job.CANCEL, pk)


def _stop(task: Task, client: ProxmoxSource) -> None:
    """`task.cancel_delivered_at` is still what it was before the claim: set means that a worker was killed here."""
    may_have_been_sent = task.cancel_delivered_at is not None
    end = client.fetch_task(task.node, task.remote_id)
    if not end.running and not may_have_been_sent:
        _note_end_before(task, end)
        return
    if end.running:
        client.stop_task(task.node, task.remote_id)
        end = _fetch_end(client, task)
        if end.running:
            return  # asked again when the claim has run out
    if classify(end.exit_text or "", cancel_requested=True).state is State.COMPLETED:
        note(task, cancel_error="", cancel_note=TOO_LATE)
    else:
        note(task, cancel_error="", cancel_note=_look_for_leftovers(client, task))


def _look_for_leftovers(client: ProxmoxSource, task: Task) -> str:
    """The task has been stopped: what the source refuses to show now takes nothing of that back."""
    try:
        return describe_leftovers(client, task)
    except SourceRefused as error:
        return f"The portal could not look for leftovers: {error}"


def _fetch_end(client: ProxmoxSource, task: Task) -> TaskObservation:
    for _ in range(END_LOOKS - 1):
        end = client.fetch_task(task.node, task.remote_id)
        if not end.running:
            return end
        time.sleep(END_PAUSE_SECONDS)
    return client.fetch_task(task.node, task.remote_id)


def _note_end_before(task: Task, end: TaskObservation) -> None:
    """It ended without our doing. A failure of its own is not our cancel, so the request is taken back."""
    state = classify(end.exit_text or "").state
    if state is State.FAILED and not was_stopped(end.exit_text or ""):
        note(task, cancel_requested_at=None, cancel_error="", cancel_note=ENDED_BY_ITSELF)
    else:
        note(task, cancel_error="", cancel_note=TOO_LATE if state is State.COMPLETED else ENDED_BY_ITSELF)


def _words(error: SourceRefused, task: Task) -> str:
    if error.kind == "not_found":
        return "The source does not know this task any more."
    if error.kind == "forbidden":
        where = (
            f" {error.privilege} on {error.path}" if error.privilege else f" Sys.Modify on /nodes/{task.node}"
        )
        return f"The source refused: the token {task.source.token_id} lacks{where}."
    return f"The source refused: {error}"
