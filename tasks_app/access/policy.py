"""Every question of permission is answered here and nowhere else.

Roles are held on a source or on all of them (`Grant`); superusers may everything. Rows a person may not see are
left out by `visible_to` of the querysets, so a stranger gets 404; `require` refuses the rest with 403.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Q

from tasks_app.errors import NotPermitted
from tasks_app.models import Grant, Role, Source

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Person = AbstractBaseUser | AnonymousUser


class Verb(StrEnum):
    """What can be asked. The value completes the sentence "may not …"."""

    SEE = "see tasks"
    CANCEL = "cancel tasks"
    START = "start things on guests"
    ACKNOWLEDGE = "acknowledge failures"
    MANAGE_SOURCE = "change sources"
    ADD_SOURCE = "add sources"
    MANAGE_PEOPLE = "change people and their roles"
    SEE_AUDIT = "read the audit trail"


_MAY: dict[str, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.SEE}),
    Role.OPERATOR: frozenset({Verb.SEE, Verb.CANCEL, Verb.START, Verb.ACKNOWLEDGE}),
    Role.AUDITOR: frozenset({Verb.SEE, Verb.SEE_AUDIT}),
    Role.ADMIN: frozenset(
        {Verb.SEE, Verb.CANCEL, Verb.START, Verb.ACKNOWLEDGE, Verb.MANAGE_SOURCE, Verb.SEE_AUDIT}
    ),
}
# Verbs that are about the whole portal: an admin of all sources holds them, an admin of one source does not.
_WHOLE_PORTAL = frozenset({Verb.ADD_SOURCE, Verb.MANAGE_PEOPLE})


def can(person: "Person", verb: Verb, source: Source | None = None) -> bool:
    """Whether `person` may do `verb` on `source`; without a source: on any source, or on the whole portal."""
    if not person.is_authenticated or not person.is_active:
        return False
    if getattr(person, "is_superuser", False):
        return True
    grants = Grant.objects.filter(user_id=person.pk)
    if verb in _WHOLE_PORTAL:
        return grants.filter(role=Role.ADMIN, source__isnull=True).exists()
    if source is not None:
        grants = grants.filter(Q(source=source) | Q(source__isnull=True))
    return grants.filter(role__in=[role for role, verbs in _MAY.items() if verb in verbs]).exists()


def require(person: "Person", verb: Verb, source: Source | None = None) -> None:
    """Raise NotPermitted unless `person` may."""
    if not can(person, verb, source):
        where = f" on {source.name}" if source is not None else ""
        raise NotPermitted(f"Your role does not allow you to {verb.value}{where}.")


def sources_seen_by(people: Iterable["AbstractBaseUser"]) -> dict[int, frozenset[int] | None]:
    """What `Source.objects.visible_to` answers, for many at once: keys of sources, or None for all of them.

    One query. Inactive people are left out.
    """
    active = [person for person in people if person.is_active]
    seen: dict[int, set[int | None]] = {person.pk: set() for person in active}
    for user_id, source_id in Grant.objects.filter(user_id__in=seen).values_list("user_id", "source_id"):
        seen[user_id].add(source_id)
    for person in active:
        if getattr(person, "is_superuser", False):
            seen[person.pk].add(None)
    return {
        pk: None if None in sources else frozenset(source for source in sources if source is not None)
        for pk, sources in seen.items()
    }
