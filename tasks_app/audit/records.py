"""Audit entries and tasks as records of an export."""

from typing import Any

from django.db.models import F
from django.db.models import Value as Literal
from django.db.models.functions import Coalesce

from tasks_app.audit.chain import content
from tasks_app.audit.formats import Column, Layout, Record, Severity, Value, format_time
from tasks_app.models import AuditEntry, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.states import WARNINGS, State, outcome_of

ENTRIES = Layout(
    "audit",
    (
        Column("number", "externalId", is_number=True),
        Column("at", "start"),
        Column("actor_id", "suid", is_number=True),
        Column("actor_name", "suser"),
        Column("action", "act"),
        Column("result", "outcome"),
        Column("target_kind", "cs1", "Object kind"),
        Column("target_id", "cs2", "Object key"),
        Column("target_name", "cs3", "Object"),
        Column("source_name", "cs4", "Source"),
        Column("request_id", "cs5", "Request"),
        Column("ip", "src"),
        Column("user_agent", "requestClientApplication"),
        Column("data", "portalData"),
        Column("previous_hash", "portalPreviousHash"),
        Column("hash", "cs6", "Hash"),
    ),
)
"""All columns of the chain: from JSON Lines anyone can verify it (docs/operations.md)."""

TASKS = Layout(
    "task",
    (
        Column("id", "externalId", is_number=True),
        Column("started_at", "start"),
        Column("ended_at", "end"),
        Column("seconds", "cn1", "Seconds", is_number=True),
        Column("source", "cs1", "Source"),
        Column("node", "shost"),
        Column("type", "cat"),
        Column("what", "msg"),
        Column("outcome", "outcome"),
        Column("warnings", "cn2", "Warnings", is_number=True),
        Column("exit_text", "reason"),
        Column("error_line", "cs2", "Error"),
        Column("object_id", "portalObjectId"),
        Column("vmid", "cn3", "VMID", is_number=True),
        Column("object_name", "portalObjectName"),
        Column("new_vmid", "portalNewVmid", is_number=True),
        Column("new_name", "portalNewName"),
        Column("remote_user", "suser"),
        Column("remote_token", "portalToken"),
        Column("person", "cs3", "Person"),
        Column("asked_by", "portalAskedBy"),
        Column("team", "cs4", "Team"),
        Column("request_id", "cs5", "Request"),
        Column("remote_id", "cs6", "UPID"),
        Column("acknowledged_at", "portalAcknowledgedAt"),
        Column("acknowledged_note", "portalAcknowledgedNote"),
    ),
)

_BY_RESULT = {
    AuditEntry.Result.DONE: Severity.INFO,
    AuditEntry.Result.REFUSED: Severity.WARNING,
    AuditEntry.Result.FAILED: Severity.ERROR,
}
_BY_OUTCOME = {
    State.FAILED: Severity.ERROR,
    State.LOST: Severity.WARNING,
    WARNINGS: Severity.WARNING,
    State.CANCELLED: Severity.NOTICE,
}


def record_of_entry(entry: AuditEntry) -> Record:
    values: dict[str, Value] = {
        **content(entry),
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }
    what = f"{entry.action} {entry.target_name}".rstrip()
    return Record(
        at=entry.at,
        name=entry.action,
        sentence=f"{entry.actor_name}: {what} ({entry.result})",
        severity=_BY_RESULT.get(AuditEntry.Result(entry.result), Severity.ERROR),
        values=values,
    )


_TASK_FIELDS = (
    "id",
    "source_id",
    "remote_id",
    "node",
    "type",
    "object_id",
    "vmid",
    "object_name",
    "new_vmid",
    "new_name",
    "remote_user",
    "remote_token",
    "person",
    "state",
    "warnings",
    "exit_text",
    "error_line",
    "started_at",
    "ended_at",
    "acknowledged_at",
    "acknowledged_note",
)


def with_export_columns(tasks: TaskQuerySet) -> TaskQuerySet:
    """`tasks` with what `record_of_task` needs and no more."""
    nothing = Literal("")
    return tasks.only(*_TASK_FIELDS).annotate(
        export_source=F("source__name"),
        export_asked_by=Coalesce("submission__actor_name", "generation__actor_name", nothing),
        export_request=Coalesce("submission__request_id", "generation__request_id", nothing),
        export_team=Coalesce("owner_team__group__name", nothing),
    )


def record_of_task(task: Task) -> Record:
    """`task` comes out of `with_export_columns`."""
    outcome = outcome_of(task.state, task.warnings)
    values: dict[str, Value] = {
        name: getattr(task, name) for name in _TASK_FIELDS if name not in ("source_id", "state")
    }
    seconds = round((task.ended_at - task.started_at).total_seconds(), 3) if task.ended_at else None
    row: Any = task  # knows the annotations
    values |= {
        "source": row.export_source,
        "asked_by": row.export_asked_by,
        "request_id": row.export_request,
        "team": row.export_team,
        "what": task.sentence,
        "outcome": outcome,
        "seconds": seconds,
        "started_at": format_time(task.started_at),
        "ended_at": format_time(task.ended_at) if task.ended_at else None,
        "acknowledged_at": format_time(task.acknowledged_at) if task.acknowledged_at else None,
    }
    told = f": {task.exit_text}" if task.exit_text and outcome != State.COMPLETED else ""
    return Record(
        at=task.ended_at or task.started_at,
        name=task.type,
        sentence=f"{task.sentence} ({outcome}{told})",
        severity=_BY_OUTCOME.get(outcome, Severity.INFO),
        values=values,
    )
