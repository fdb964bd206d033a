"""The moment in which a remote has named the task of what was asked for: its row, and one entry in the audit trail.

The entry carries the request of the click, so that one request id joins the click, the calls and the tasks. It stands
in the transaction that writes the answer down. If it cannot be written, the answer is not: the call is then one whose
answer was lost, and is reconciled as such.
"""

import logging
from typing import Any

from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import Generation, Submission, Task, TaskEvent
from tasks_app.progress.upid import InvalidUpid, parse_upid
from tasks_app.sources.base import TaskObservation

logger = logging.getLogger(__name__)


def show_task(submission: Submission) -> Task | None:
    """Make the task row at once, as the answer tells it; the next pass finds it there. None when it names no task."""
    try:
        upid = parse_upid(submission.remote_id)
    except InvalidUpid:
        logger.warning("answer names no task submission=%d", submission.pk)
        return None
    seen = TaskObservation(
        remote_id=submission.remote_id,
        node=upid.node,
        type=upid.type,
        object_id=upid.object_id,
        user=upid.user,
        token=upid.token,
        started_at=upid.started_at,
        running=None,
    )
    ingest_observations(submission.source, [seen], at=now())
    return link_task(submission)


def link_task(submission: Submission) -> Task | None:
    """Join the task to what a person asked for; a pass may have seen it before its UPID was written down here."""
    asked: dict[str, Any] = {"submission": submission, "person": submission.actor_name}
    if submission.new_vmid is not None:
        asked |= {"new_vmid": submission.new_vmid, "new_name": submission.parameters.get("name", "")}
    tasks = Task.objects.filter(source=submission.source, remote_id=submission.remote_id)
    if tasks.filter(submission__isnull=True).update(**asked):
        for pk in tasks.values_list("pk", flat=True):
            TaskEvent.objects.create(task_id=pk, source_id=submission.source_id, kind=TaskEvent.Kind.STATE)
    return tasks.select_related("source").first()


def note_beginning(submission: Submission) -> None:
    """`submission` has its UPID. In the caller's transaction, which has just written that down, once."""
    task = show_task(submission)
    record(
        Action.TASK_BEGAN,
        actor=None,
        target=task or submission,
        source=submission.source,
        request_id=submission.request_id,
        by=submission.actor_name,
        upid=submission.remote_id,
        submission=submission.pk,
        machine=submission.machine_id,
    )


def note_generation_beginning(row: Generation) -> None:
    """The provider has taken the order. In the caller's transaction, which has just written that down, once."""
    task = Task.objects.select_related("source").get(pk=row.pk)
    record(
        Action.TASK_BEGAN,
        actor=None,
        target=task,
        request_id=row.request_id,
        by=row.actor_name,
        remote_id=task.remote_id,
        kind=row.kind,
    )
