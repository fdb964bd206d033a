"""Catalogue items: adding, changing, switching and removing what teams may order. The remote is asked beforehand."""

from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, Refused
from tasks_app.models import CatalogItem, Guest, Machine, Source
from tasks_app.services.item_input import ItemSettings, clean_settings
from tasks_app.services.source_offers import Template
from tasks_app.sources.proxmox import FunctionCheck, check_functions
from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.permissions import parse_permissions

Kind = CatalogItem.Kind


@transaction.atomic
def save_item(
    item: CatalogItem | None,
    *,
    actor: User | None,
    settings: ItemSettings,
    source: Source | None = None,
    template: Template | None = None,
) -> CatalogItem:
    """A new item of `source` made from `template`, or `item` changed. What is the same leaves no entry.

    `template` is what `source_offers.fetch_template` has just read; None keeps the one that `item` has, with the
    sizes that were read then. Machines that were ordered before stay as they are.
    Raises NotPermitted, InvalidInput (fields of ItemSettings; ip_network, ip_first, ip_last, ip_gateway; pick).
    """
    source = item.source if item is not None else source
    if source is None:
        raise InvalidInput(source="Pick a source.")
    if actor is not None:
        require(actor, Verb.MANAGE_ITEM, source, item=item)
    if item is not None:
        item = CatalogItem.objects.select_for_update().get(pk=item.pk)
    if template is None:
        if item is None:
            raise InvalidInput(pick="Pick what it is made from.")
        template = template_of_row(item)
        is_new_template = False
    else:
        is_new_template = True
    cleaned = clean_settings(settings, template)
    before = None if item is None else facts_of(item)
    item = item or CatalogItem(source=source)
    for name, value in cleaned.as_row().items():
        setattr(item, name, value)
    if is_new_template:
        item.kind, item.vmid, item.ostemplate = template.kind, template.vmid, template.ostemplate
        item.disk_key, item.template_disk_gb = template.disk_key, template.disk_gb
        item.template_disks_gb, item.vanished_at = template.disks_gb, None
    try:
        with transaction.atomic():
            item.save()
    except IntegrityError:
        raise InvalidInput(slug=f"Another item on {source.name} has this short name already.") from None
    after = facts_of(item)
    if before is None:
        record(Action.ITEM_ADD, actor=actor, target=item, after=after)
    elif before != after:
        changed = [name for name in after if before[name] != after[name]]
        record(
            Action.ITEM_CHANGE,
            actor=actor,
            target=item,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    return item


@transaction.atomic
def set_item_enabled(item: CatalogItem, *, actor: User | None, is_enabled: bool) -> None:
    """Let it be ordered, or not for now; what was ordered goes on. Switching twice is harmless."""
    if actor is not None:
        require(actor, Verb.MANAGE_ITEM, item=item)
    if CatalogItem.objects.filter(pk=item.pk).exclude(is_enabled=is_enabled).update(is_enabled=is_enabled):
        record(Action.ITEM_SWITCH, actor=actor, target=item, is_enabled=is_enabled)
    item.is_enabled = is_enabled


@transaction.atomic
def remove_item(item: CatalogItem, *, actor: User | None) -> None:
    """Forget the item; machines made from it stay. Raises NotPermitted, Refused while something is being made."""
    if actor is not None:
        require(actor, Verb.MANAGE_ITEM, item=item)
    item = CatalogItem.objects.select_for_update().select_related("source").get(pk=item.pk)
    if obstacle := removal_obstacle(item):
        raise Refused(obstacle)
    record(Action.ITEM_REMOVE, actor=actor, target=item, before=facts_of(item))
    item.delete()


def removal_obstacle(item: CatalogItem) -> str:
    """Why the item cannot be removed now; "" when it can."""
    open_machines = Machine.objects.filter(item=item).in_the_making().count()
    if not open_machines:
        return ""
    waiting = "a machine" if open_machines == 1 else f"{open_machines} machines"
    return (
        f"{waiting.capitalize()} of “{item}” {'is' if open_machines == 1 else 'are'} ordered and not made yet. "
        "Switch the item off, and remove it when they are done or cancelled."
    )


def facts_of(item: CatalogItem) -> dict[str, Any]:
    """What the audit trail keeps of an item; it holds no secrets."""
    left_out = {"id", "source", "created_at", "is_enabled"}
    names = [field.attname for field in item._meta.concrete_fields if field.name not in left_out]
    facts = {name: getattr(item, name) for name in names}
    facts["vanished_at"] = item.vanished_at.isoformat() if item.vanished_at else None
    return facts


def template_of_row(item: CatalogItem) -> Template:
    """The template as it was read when the item was saved; for containers and VMs `Guest` says whether it is one."""
    guest = Guest.objects.filter(source=item.source_id, vmid=item.vmid).first() if item.vmid else None
    other_gb = item.template_disks_gb - item.template_disk_gb
    disks = [(item.disk_key, item.template_disk_gb)] if item.disk_key and item.template_disk_gb else []
    return Template(
        kind=item.kind,
        vmid=item.vmid,
        ostemplate=item.ostemplate,
        name=guest.name if guest else item.ostemplate.rpartition("/")[2],
        node=guest.node if guest else "",
        is_template=guest.is_template if guest else not item.full_clone,
        disks=tuple(disks + ([("others", other_gb)] if other_gb > 0 else [])),
        disk_key=item.disk_key,
    )


def missing_privileges(item: CatalogItem, template: Template | None = None) -> list[FunctionCheck]:
    """What the token of the item's source may not do and the item needs; none while its rights were never read.

    `template`, where it is known, says which bridges and storages a clone takes with it.
    """
    source = item.source
    if source.permissions_at is None:
        return []
    is_clone = item.kind != Kind.LXC_CREATE
    storages = [item.storage] if item.storage else list(template.storages) if template else []
    bridges = [item.bridge] if item.bridge else list(template.bridges) if template else []
    major = source.version.partition(".")[0]
    checks = check_functions(
        parse_permissions(source.permissions),
        Version(source.version, source.version, int(major) if major.isdecimal() else 9),
        token_id=source.token_id,
        pool=item.pool,
        templates=[item.vmid] if is_clone and item.vmid else [],
        storages=storages,
        bridges=bridges,
    )
    needed = {"clone_target", "clone_storage", "clone_network"}
    needed |= {"clone"} if is_clone else set()
    needed |= {"power"} if item.starts else set()
    return [check for check in checks if check.function in needed and not check.allowed]
