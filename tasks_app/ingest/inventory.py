"""Nodes and guests of a source as its inventory last showed them, and their names on tasks."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from tasks_app.ingest.events import Events
from tasks_app.ingest.tasks import BATCH_ROWS, search_text
from tasks_app.ingest.text import storable
from tasks_app.models import Guest, Node, Source, Task, TaskEvent
from tasks_app.sources.proxmox.inventory import Node as RemoteNode
from tasks_app.sources.proxmox.inventory import Resource

_SEEN_EVERY = timedelta(minutes=5)
"""`seen_at` of a row that is otherwise unchanged is written no more often."""
_NAMED_LATER = timedelta(minutes=10)
"""A new guest has no name for its first 10 s; tasks this young are named afterwards."""
_FIELDS = (
    "kind", "name", "node", "status", "pool", "tags", "lock", "is_template", "max_memory", "max_disk", "cores",
    "gone_at",
)  # fmt: skip


def store_nodes(source: Source, nodes: Sequence[RemoteNode], *, at: datetime) -> None:
    """Add and update nodes; one that left the cluster is shown as unknown."""
    rows = {row.name: row for row in Node.objects.filter(source=source)}
    status = {storable(n.name): "online" if n.online else "offline" for n in nodes if len(n.name) <= 100}
    with transaction.atomic():
        for name, word in status.items():
            row = rows.get(name)
            if row is None:
                Node.objects.get_or_create(source=source, name=name, defaults={"status": word, "seen_at": at})
            elif row.status != word or row.seen_at is None or at - row.seen_at > _SEEN_EVERY:
                Node.objects.filter(pk=row.pk).update(status=word, seen_at=at)
        for name, row in rows.items():
            if name not in status and row.status != "unknown":
                Node.objects.filter(pk=row.pk).update(status="unknown")


def store_guests(source: Source, resources: Sequence[Resource], *, at: datetime) -> None:
    """Add and update guests, mark those that vanished, name tasks that were seen before their guest had a name.

    An empty list marks nobody: a token that has lost its rights sees none either.
    """
    seen = {row.vmid: row for row in (_guest(source, r, at) for r in resources) if row is not None}
    known = {row.vmid: row for row in Guest.objects.filter(source=source)}
    new = [row for vmid, row in seen.items() if vmid not in known]
    changed: list[Guest] = []
    for vmid, row in seen.items():
        old = known.get(vmid)
        if old is None:
            continue
        # A guest younger than 10 s, or on a node that is down, comes without name and sizes.
        row.name = row.name or old.name
        if any(getattr(old, f) != getattr(row, f) for f in _FIELDS) or at - old.seen_at > _SEEN_EVERY:
            row.pk = old.pk
            changed.append(row)
    gone = [row.pk for vmid, row in known.items() if vmid not in seen and row.gone_at is None] if seen else []
    if not (new or changed or gone):
        return
    with transaction.atomic():
        Guest.objects.bulk_create(new, ignore_conflicts=True, batch_size=BATCH_ROWS)
        Guest.objects.bulk_update(changed, [*_FIELDS, "seen_at"], batch_size=100)
        Guest.objects.filter(pk__in=gone).update(gone_at=at)
        _name_tasks(source, {vmid: row.name for vmid, row in seen.items() if row.name}, at)


def _guest(source: Source, resource: Resource, at: datetime) -> Guest | None:
    if resource.type not in (Guest.QEMU, Guest.LXC) or resource.vmid is None:
        return None
    if not 0 < resource.vmid < 2**31:
        return None
    return Guest(
        source=source,
        vmid=resource.vmid,
        kind=resource.type,
        name=storable(resource.name)[:400],
        node=storable(resource.node)[:100],
        status=storable(resource.status)[:20],
        pool=storable(resource.pool)[:100],
        tags=storable(";".join(resource.tags))[:500],
        lock=storable(resource.lock)[:40],
        is_template=resource.template,
        max_memory=_size(resource.maxmem),
        max_disk=_size(resource.maxdisk),
        cores=_size(resource.maxcpu),
        seen_at=at,
    )


def _size(value: int) -> int | None:
    return value if 0 < value < 2**63 else None


def _name_tasks(source: Source, names: dict[int, str], at: datetime) -> None:
    young = Task.objects.filter(source=source, started_at__gt=at - _NAMED_LATER)
    events = Events(source.pk, at)
    for task in young.filter(object_name="", vmid__isnull=False) | young.filter(
        new_name="", new_vmid__isnull=False
    ):
        name = task.object_name or names.get(task.vmid or 0, "")
        new_name = task.new_name or names.get(task.new_vmid or 0, "")
        if (name, new_name) == (task.object_name, task.new_name):
            continue
        task.object_name, task.new_name = name, new_name
        Task.objects.filter(pk=task.pk).update(
            object_name=name, new_name=new_name, search_text=search_text(task)
        )
        events.add(TaskEvent.Kind.STATE, task.pk)
    events.save()
