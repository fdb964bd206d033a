"""Rows for tests, each made by one small function with sensible defaults."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import (
    Asset,
    CatalogItem,
    Generation,
    Grant,
    Guest,
    LogLine,
    Machine,
    Order,
    Role,
    Source,
    Stage,
    Task,
    Team,
)
from tasks_app.models.generation import new_own_id
from tasks_app.states import FINAL_STATES, State

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
        "person": fields["submission"].actor_name if fields.get("submission") else "",
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


def make_team(
    *members: User, admins: tuple[User, ...] = (), items: tuple[CatalogItem, ...] = (), **fields: Any
) -> Team:
    """A team without limits; `admins` are members too. `name` is the group's."""
    number = next(_numbers)
    group = Group.objects.create(name=fields.pop("name", f"Team {number}"))
    group.user_set.add(*members, *admins)
    team = Team.objects.create(group=group, **({"slug": f"team-{number}"} | fields))
    team.admins.add(*admins)
    team.items.add(*items)
    return team


def make_item(source: Source | None = None, **fields: Any) -> CatalogItem:
    """A full clone of the VM template 9000 with one size; of no team, and without the guest row of its template."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "kind": CatalogItem.Kind.QEMU_CLONE,
        "vmid": 9000,
        "slug": f"item-{number}",
        "title": f"Item {number}",
        "sizes": [{"key": "S", "label": "Small", "cores": 1, "memory_mb": 1024, "disk_gb": 0}],
        "disk_key": "scsi0",
        "template_disk_gb": 8,
        "template_disks_gb": 8,
    }
    return CatalogItem.objects.create(source=source or make_source(), **(defaults | fields))


def make_order(team: Team | None = None, *, item: CatalogItem | None = None, **fields: Any) -> Order:
    """An order without machines that needed no approval; `actor` is its only person."""
    number = next(_numbers)
    item = item or make_item(fields.pop("source", None))
    actor = fields.pop("actor", None) or make_user()
    team = team or make_team(actor, items=(item,))
    defaults: dict[str, Any] = {
        "source": item.source,
        "title": f"order-{number}",
        "actor_name": actor.get_username(),
        "idempotency_key": f"order-{number}",
        "size": "S",
    }
    return Order.objects.create(team=team, item=item, actor=actor, **(defaults | fields))


def make_machine(order: Order | None = None, *, has_guest: bool = True, **fields: Any) -> Machine:
    """A ready machine of the order's actor that runs as a guest of its source; another `stage` makes no guest.

    `owner`, `team`, `item` and `source` may be given instead of an order.
    """
    number = next(_numbers)
    if order is None:
        source, item = fields.pop("source", None), fields.pop("item", None)
        order = make_order(
            fields.pop("team", None), item=item or make_item(source), actor=fields.get("owner")
        )
    owner = fields.pop("owner", order.actor)
    stage = fields.get("stage", Stage.READY)
    is_there = stage == Stage.READY
    defaults: dict[str, Any] = {
        "owner_name": owner.get_username() if owner else "",
        "position": order.machines.count() + 1,
        "name": f"vm-{number}",
        "kind": order.item.guest_kind if order.item else Guest.QEMU,
        "vmid": 20_000 + number if is_there else None,
        "node": "pve1",
        "cores": 1,
        "memory_mb": 1024,
        "disk_gb": 8,
        "stage": stage,
        "exists": is_there,
        "ready_at": now() if is_there else None,
        "ended_at": now() if stage in (Stage.CANCELLED, Stage.REJECTED, Stage.GONE) else None,
    }
    machine = Machine.objects.create(
        order=order,
        source=order.source,
        team=order.team,
        item=order.item,
        owner=owner,
        **(defaults | fields),
    )
    if has_guest and is_there and machine.vmid is not None:
        make_guest(
            order.source,
            vmid=machine.vmid,
            kind=machine.kind,
            name=machine.name,
            node=machine.node,
        )
    return machine


def make_generation_source(**fields: Any) -> Source:
    """A task API without a key at whose address nothing listens; it has answered a moment ago."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "name": f"studio-{number}",
        "kind": "task_api",
        "urls": ["http://127.0.0.1:1"],
        "fingerprints": [],
        "token_id": "",
        "token_secret_sealed": "",
        "version": "",
        "permissions": {},
        "permissions_at": None,
    }
    return make_source(**(defaults | fields))


def make_generation(
    source: Source | None = None,
    *,
    state: State = State.PENDING,
    is_sent: bool | None = None,
    task: dict[str, Any] | None = None,
    **fields: Any,
) -> Generation:
    """A video of an operator, in the portal's own queue; any other state has been sent and answered half a minute ago.

    `is_sent=True` with pending: waits in the remote's queue. `task` are fields of its task row. `actor=None`: somebody
    else's, seen in a list call.
    """
    number = next(_numbers)
    source = source or make_generation_source()
    asked_at = fields.pop("asked_at", now() - timedelta(minutes=1))
    kind, prompt = fields.pop("kind", "video"), fields.pop("prompt", "A red fox in the snow")
    actor = fields.pop("actor") if "actor" in fields else make_user(Role.OPERATOR)
    is_sent = state != State.PENDING if is_sent is None else is_sent
    is_foreign = actor is None and "actor_name" not in fields
    own_id = fields.pop("own_id", None) or new_own_id()
    own_task: dict[str, Any] = {
        "type": kind,
        "object_name": prompt[:400],
        "node": "",
        "remote_id": f"{kind[:3]}_{number:012x}" if is_sent or is_foreign else own_id,
        "remote_user": actor.get_username() if actor else "",
        "person": actor.get_username() if actor else fields.get("actor_name", ""),
        "state": state,
        "started_at": asked_at,
        "exit_text": "",
    }
    row = make_task(source, object_id="", **(own_task | (task or {})))
    sent_at = asked_at + timedelta(seconds=30)
    defaults: dict[str, Any] = {
        "offer": kind,
        "actor_name": actor.get_username() if actor else "",
        "idempotency_key": "" if actor is None else f"generation-{number}",
        "handle": {"id": row.remote_id} if is_sent or is_foreign else {},
        "called_at": sent_at if is_sent and not is_foreign else None,
        "answered_at": sent_at if is_sent or is_foreign else None,
        "ask_at": sent_at if (is_sent or is_foreign) and state not in FINAL_STATES else None,
        "parameters": {"prompt": prompt},
        "next_attempt_at": asked_at,
        "last_sign_at": asked_at,
    }
    return Generation.objects.create(
        task=row,
        kind=kind,
        prompt=prompt,
        actor=actor,
        asked_at=asked_at,
        own_id=own_id,
        **(defaults | fields),
    )


def make_asset(generation: Generation | None = None, **fields: Any) -> Asset:
    """A result that waits to be copied."""
    generation = generation or make_generation(state=State.COMPLETED)
    number = fields.pop("number", generation.assets.count())
    url = f"http://127.0.0.1:1/files/{generation.pk}-{number}.mp4"
    defaults: dict[str, Any] = {"name": f"result-{number}.mp4", "url": url, "origin": url}
    return Asset.objects.create(generation=generation, number=number, **(defaults | fields))
