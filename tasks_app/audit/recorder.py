"""Appending audit entries. Called inside the deed's transaction: without an entry there is no deed.

The end of the chain is locked from here to the end of that transaction, so parallel writers stand in line.
"""

from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.chain import plain, plain_address, plain_text, seal
from tasks_app.audit.context import current_origin
from tasks_app.models import AuditEntry, AuditHead, Source

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


def record(
    action: Action,
    *,
    actor: "AbstractBaseUser | AnonymousUser | None",
    target: models.Model | None = None,
    target_name: str = "",
    source: Source | None = None,
    result: AuditEntry.Result = AuditEntry.Result.DONE,
    request_id: str | None = None,
    **data: Any,
) -> AuditEntry:
    """Append one entry and return it. `data` must be JSON and free of secrets; an error here undoes the deed.

    The source is taken from `target` where that has one. An `actor` of None is the portal itself. `request_id` is
    that of the click behind it where a job writes the entry; else it is the one of the present request.
    """
    origin = current_origin()
    if source is None:
        source = target if isinstance(target, Source) else getattr(target, "source", None)
    entry = AuditEntry(
        at=now(),
        actor_id=actor.pk if actor is not None else None,
        actor_name=(actor.get_username() or "nobody signed in") if actor is not None else "portal",
        action=action.value,
        result=result,
        target_kind=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_name=plain_text(target_name or (str(target) if target is not None else "")),
        source_name=source.name if source is not None else "",
        request_id=origin.request_id if request_id is None else request_id,
        ip=plain_address(origin.ip),
        user_agent=plain_text(origin.user_agent[:300]),
        data=plain(data),
    )
    _append(entry)
    return entry


@transaction.atomic
def _append(entry: AuditEntry) -> None:
    head, _ = AuditHead.objects.get_or_create(pk=AuditHead.KEY)
    head = AuditHead.objects.select_for_update().get(pk=AuditHead.KEY)
    entry.number = head.number + 1
    entry.previous_hash = head.hash
    entry.hash = seal(entry, head.hash)
    entry.save(force_insert=True)
    AuditHead.objects.filter(pk=AuditHead.KEY).update(number=entry.number, hash=entry.hash)
