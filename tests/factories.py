"""Rows for tests, each made by one small function with sensible defaults."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import Grant, Guest, LogLine, Role, Source, Task
from tasks_app.states import State

_numbers = itertools.count(1)
PASSWORD = "correct horse battery"


def make_user(role: Role | None = None, *, source: Source | None = None, **fields: Any) -> User:
    """A person, with `role` on `source` (on all sources when that is None); without role a stranger."""
    number = next(_numbers)
    user = User.objects.create_user(
        username=fields.pop("username", f"member-{number}"),
        password=fields.pop("password", PASSWORD),
        **fields,
    )
    if role is not None:
        Grant.objects.create(user=user, source=source, role=role)
    return user


def make_superuser(**fields: Any) -> User:
    return make_user(is_superuser=True, is_staff=True, **fields)


def make_source(**fields: Any) -> Source:
    """A source that has answered a moment ago; nothing listens at its address."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "name": f"prod-{number}",
        "urls": ["https://127.0.0.1:1"],
        "fingerprints": [":".join(["AA"] * 32)],
        "token_id": "portal@pve!web",
        "token_secret_sealed": connections.seal("00000000-0000-0000-0000-000000000000"),
        "version": "9.2.11",
        "last_pass_at": now(),
        "permissions": {"/": {"Sys.Audit": 1, "VM.Audit": 1, "VM.PowerMgmt": 1, "Sys.Modify": 1}},
        "permissions_at": now(),
    }
    return Source.objects.create(**(defaults | fields))


def make_upid(
    *,
    node: str = "pve1",
    type: str = "qmstart",
    object_id: str = "100",
    user: str = "root@pam",
    started_at: datetime,
) -> str:
    number = next(_numbers)
    return (
        f"UPID:{node}:{number:08X}:{number:08X}:{int(started_at.timestamp()):08X}:{type}:{object_id}:{user}:"
    )


def make_task(source: Source | None = None, **fields: Any) -> Task:
    """A running start of VM 100, begun a minute ago; a final `state` gets a fitting end and exit text."""
    source = source or make_source()
    started_at = fields.pop("started_at", datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1))
    type_, object_id = fields.get("type", "qmstart"), fields.pop("object_id", "100")
    state = State(fields.get("state", State.PROCESSING))
    defaults: dict[str, Any] = {
        "node": "pve1",
        "type": type_,
        "object_id": object_id,
        "vmid": int(object_id) if object_id.isdigit() else None,
        "object_name": "web-01" if object_id.isdigit() else "",
        "remote_user": "root@pam",
        "state": state,
        "started_at": started_at,
        "remote_id": make_upid(type=type_, object_id=object_id, started_at=started_at),
    }
    if state not in (State.PENDING, State.PROCESSING):
        defaults["ended_at"] = started_at + timedelta(seconds=30)
        defaults["exit_text"] = {State.COMPLETED: "OK", State.FAILED: "command failed"}.get(state, "")
    task = Task(source=source, **(defaults | fields))
    task.search_text = task.search_text or f"{task.sentence} {task.remote_id} {task.remote_user}".lower()
    task.save()
    return task


def make_guest(source: Source | None = None, **fields: Any) -> Guest:
    defaults: dict[str, Any] = {
        "vmid": 100 + next(_numbers),
        "kind": Guest.QEMU,
        "name": "web-01",
        "node": "pve1",
        "status": "running",
        "seen_at": now(),
    }
    return Guest.objects.create(source=source or make_source(), **(defaults | fields))


def add_log(task: Task, *texts: str) -> None:
    """Lines of a running task, numbered on from what it has."""
    first = task.log_total + 1
    LogLine.objects.bulk_create(
        LogLine(task=task, number=number, text=text) for number, text in enumerate(texts, first)
    )
    task.log_total += len(texts)
    task.save(update_fields=["log_total"])
