"""Appending audit entries. Called inside the deed's transaction: without an entry there is no deed."""

from typing import TYPE_CHECKING, Any

from django.db import models

from tasks_app.audit.actions import Action
from tasks_app.audit.context import current_origin
from tasks_app.models import AuditEntry, Source

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
    **data: Any,
) -> AuditEntry:
    """Append one entry and return it. `data` must be JSON and free of secrets; an error here undoes the deed.

    The source is taken from `target` where that has one. An `actor` of None is the portal itself.
    """
    origin = current_origin()
    if source is None:
        source = target if isinstance(target, Source) else getattr(target, "source", None)
    return AuditEntry.objects.create(
        actor_id=actor.pk if actor is not None else None,
        actor_name=(actor.get_username() or "nobody signed in") if actor is not None else "portal",
        action=action.value,
        result=result,
        target_kind=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        # PostgreSQL takes no NUL, and an address that somebody made up may hold one.
        target_name=(target_name or (str(target) if target is not None else "")).replace("\0", "\ufffd"),
        source_name=source.name if source is not None else "",
        request_id=origin.request_id,
        ip=origin.ip,
        user_agent=origin.user_agent[:300],
        data=data,
    )
