"""How a source is doing: results of passes, rights of its token. An event only when that really changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Value, When

from tasks_app.ingest.events import Events
from tasks_app.ingest.text import storable, storable_json
from tasks_app.models import Node, Source, TaskEvent
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox.permissions import parse_permissions

CLUSTER_LIST_PRIVILEGE = "Sys.Audit"


def can_list_cluster(permissions: Mapping[str, Any]) -> bool:
    """Whether `/cluster/tasks` shows anything: without Sys.Audit on `/` it is empty for a token, without an error.

    `permissions` as `Source.permissions`. When False, the portal lives on node lists and sees what each node shows.
    """
    return CLUSTER_LIST_PRIVILEGE in permissions.get("/", {})


def can_list_node(permissions: Mapping[str, Any], node: str) -> bool:
    """Whether the list of `node` shows everybody's tasks, or the token's own alone; see `can_list_cluster`."""
    return parse_permissions(permissions).allows(f"/nodes/{node}", CLUSTER_LIST_PRIVILEGE)


def record_pass(
    source: Source, *, owner: str, at: datetime, latency_seconds: float | None, next_pass_at: datetime
) -> bool:
    """A pass got its answers. Gives the lease back; False (and nothing written) when `owner` has lost it.

    `source` is the row as it was claimed: a `next_pass_at` that somebody has moved since (a wake-up) stays.
    """
    with transaction.atomic():
        # Health only from its own row: the claimed copy may be old.
        was_failing = Source.objects.filter(pk=source.pk, failing_since__isnull=False).exists()
        is_first = Source.objects.filter(pk=source.pk, last_pass_at__isnull=True).exists()
        written = _release(
            source,
            owner,
            next_pass_at,
            last_pass_at=at,
            latency_ms=None if latency_seconds is None else min(2**31 - 1, round(latency_seconds * 1000)),
            failing_since=None,
            failures=0,
            error_kind="",
            error_text="",
        )
        if written and (was_failing or is_first):
            _tell(source, at)
    return written


def record_failure(
    source: Source, error: SourceError, *, owner: str, at: datetime, next_pass_at: datetime
) -> bool:
    """A pass failed: the source, not its tasks. Gives the lease back; False when `owner` has lost it."""
    with transaction.atomic():
        known = Source.objects.filter(
            pk=source.pk, failing_since__isnull=False, error_kind=error.kind[:40]
        ).exists()
        written = _release(
            source,
            owner,
            next_pass_at,
            failing_since=Case(When(failing_since__isnull=True, then=Value(at)), default=F("failing_since")),
            failures=F("failures") + 1,
            error_kind=error.kind[:40],
            error_text=storable(str(error)),
        )
        if written and not known:
            _tell(source, at)
    return written


def release_pass(source: Source, *, owner: str, next_pass_at: datetime) -> bool:
    """A pass that says nothing about the source: it asked nothing, or got too few bad answers to judge by."""
    return _release(source, owner, next_pass_at)


def record_first_sync(source: Source, *, at: datetime) -> None:
    """What a source shows has been read once."""
    with transaction.atomic():
        if Source.objects.filter(pk=source.pk, first_synced_at__isnull=True).update(first_synced_at=at):
            _tell(source, at)


def record_permissions(
    source: Source, permissions: Mapping[str, Mapping[str, bool]], *, version: str, at: datetime
) -> None:
    """Keep what the token may do and on which version (as in `9.2.11`); both change rarely and are read together.

    `permissions` is as GET /access/permissions answers it: path → privilege → 1 or 0 (not inherited).
    """
    plain = storable_json(
        {path: {name: int(down) for name, down in held.items()} for path, held in permissions.items()}
    )
    version = storable(version)[:40]
    has_changed = (plain, version) != (source.permissions, source.version)
    with transaction.atomic():
        Source.objects.filter(pk=source.pk).update(permissions=plain, permissions_at=at, version=version)
        if has_changed:
            _tell(source, at)
    source.permissions, source.permissions_at, source.version = plain, at, version


def record_cursor(node: Node, *, cursor: int, at: datetime) -> None:
    """The node's list has been read and written up to tasks that started at `cursor` (Unix seconds). Never goes back.

    Called last, after the rows are committed.
    """
    Node.objects.filter(pk=node.pk, cursor__lt=cursor).update(cursor=cursor)
    if node.first_synced_at is None:
        Node.objects.filter(pk=node.pk, first_synced_at__isnull=True).update(first_synced_at=at)


def record_synced_nodes(source: Source, *, at: datetime) -> None:
    """The source is synced when each node that is up has been read; one that comes back later is read then."""
    if source.first_synced_at is not None:
        return
    nodes = Node.objects.filter(source=source)
    is_unread = nodes.filter(first_synced_at__isnull=True, status="online").exists()
    if not is_unread and nodes.filter(first_synced_at__isnull=False).exists():
        record_first_sync(source, at=at)


def _release(source: Source, owner: str, next_pass_at: datetime, **values: Any) -> bool:
    wanted = Case(When(next_pass_at=source.next_pass_at, then=Value(next_pass_at)), default=F("next_pass_at"))
    mine = Source.objects.filter(pk=source.pk, lease_owner=owner)
    return bool(mine.update(lease_owner="", lease_until=None, next_pass_at=wanted, **values))


def _tell(source: Source, at: datetime) -> None:
    events = Events(source.pk, at)
    events.add(TaskEvent.Kind.SOURCE)
    events.save()
