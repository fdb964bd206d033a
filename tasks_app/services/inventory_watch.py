"""Machines and templates that vanished from Proxmox, came back, or moved: compared with the inventory as stored.

A guest that is missing in one answer may be back in the next. It counts as gone when the source has answered without
it for two minutes, that is in eight inventories; nothing is concluded from a source that fails or is paused.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import CatalogItem, Guest, Machine, Role, Source
from tasks_app.services.notices import notify
from tasks_app.services.removal import note_gone, removal_steps
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.permissions import parse_permissions

logger = logging.getLogger(__name__)

GONE_AFTER = timedelta(minutes=2)
"""Longer than a migration hides a guest, and than a node's services take to restart."""


def check_machines(
    *, at: datetime | None = None, client: Callable[[Source], ProxmoxSource] | None = None
) -> None:
    """Note what vanished, came back or moved on every source that answers. Running it twice is harmless."""
    at = at or now()
    for source in Source.objects.watchable().filter(failing_since__isnull=True, last_pass_at__isnull=False):
        guests = {guest.vmid: guest for guest in Guest.objects.filter(source=source)}
        if not guests:
            continue  # nothing has been seen yet, or the token sees nothing: no proof of anything
        for machine in Machine.objects.standing().filter(source=source).select_related("owner"):
            _check_machine(machine, guests.get(machine.vmid or 0), source, at)
        for item in CatalogItem.objects.filter(source=source).exclude(kind=CatalogItem.Kind.LXC_CREATE):
            _note_template(item, _is_missing(guests.get(item.vmid or 0), item.created_at, source), at)
        _check_os_templates(source, at, client or connections.client_of)


def _check_machine(machine: Machine, guest: Guest | None, source: Source, at: datetime) -> None:
    if guest is not None and guest.kind != machine.kind and guest.gone_at is None:
        note_gone(machine, at=at, why=f"Its VM ID {machine.vmid} belongs to another guest now.")
    elif _is_missing(guest, machine.stage_at, source):
        # our own deletion ends by its submission, whose words say more
        if not removal_steps(machine) and _may_see(machine, guest, source):
            note_gone(
                machine,
                at=at,
                why=f"Somebody deleted it in Proxmox: {source.name} does not have it any more.",
            )
    elif guest is not None and guest.gone_at is None and guest.node != machine.node:
        standing = Machine.objects.standing().filter(pk=machine.pk)
        if standing.update(node=guest.node):
            logger.info("machine has moved machine=%d node=%s", machine.pk, guest.node)


def _is_missing(guest: Guest | None, since: datetime, source: Source) -> bool:
    """Whether the source has answered without it for long enough. `since`: from when on it should have been seen."""
    missing_since = since if guest is None else guest.gone_at
    if missing_since is None or source.last_pass_at is None:
        return False
    return source.last_pass_at - missing_since >= GONE_AFTER


def _may_see(machine: Machine, guest: Guest | None, source: Source) -> bool:
    """A token that has lost its right on the guest does not see it either; that is no proof."""
    if source.permissions_at is None:
        return True
    permissions = parse_permissions(source.permissions)
    pool = guest.pool if guest is not None else ""
    paths = [f"/vms/{machine.vmid}", *([f"/pool/{pool}"] if pool else [])]
    return any(permissions.allows(path, "VM.Audit") for path in paths)


def _check_os_templates(source: Source, at: datetime, client_of: Callable[[Source], ProxmoxSource]) -> None:
    """Reads each storage that holds an item's OS template, once; what the source refuses to show proves nothing."""
    by_storage: dict[str, list[CatalogItem]] = {}
    for item in CatalogItem.objects.filter(source=source, kind=CatalogItem.Kind.LXC_CREATE):
        by_storage.setdefault(item.ostemplate.partition(":")[0], []).append(item)
    if not by_storage:
        return
    try:
        client = client_of(source)
        by_node = client.fetch_storages_by_node()
        for storage, items in by_storage.items():
            nodes = sorted(node for node, storages in by_node.items() if storage in storages)
            if not nodes:
                continue
            volumes: set[str] = set()
            for node in nodes:
                volumes |= {volume.volid for volume in client.fetch_storage_content(node, storage, "vztmpl")}
                if by_node[node][storage].shared:
                    break
            for item in items:
                _note_template(item, item.ostemplate not in volumes, at)
    except SourceError as error:
        logger.warning("OS templates could not be read source=%s kind=%s", source.name, error.kind)


def _note_template(item: CatalogItem, is_missing: bool, at: datetime) -> None:
    """Switch the item off while its template is missing; the reason is told by the item itself."""
    with transaction.atomic():
        row = CatalogItem.objects.filter(pk=item.pk, vanished_at__isnull=is_missing)
        if not row.update(vanished_at=at if is_missing else None):
            return
        what = item.ostemplate or f"template {item.vmid}"
        text = (
            f"{item.title} cannot be ordered: the {what} is not on {item.source.name} any more."
            if is_missing
            else f"{item.title} can be ordered again: the {what} is back on {item.source.name}."
        )
        word = "vanished" if is_missing else "back"
        notify(
            _admins(item.source), key=f"item-{item.pk}-{word}-{at:%Y%m%dT%H%M%S}", text=text, path="/items/"
        )
        logger.info("template is %s item=%d", word, item.pk)


def _admins(source: Source) -> list[User]:
    mine = Q(grants__role=Role.ADMIN) & (Q(grants__source=source) | Q(grants__source__isnull=True))
    return list(User.objects.filter(mine, is_active=True).distinct())
