"""Where the things are that audit entries are about, as far as they still exist and the person may open them."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse

from tasks_app.access.policy import Verb, can
from tasks_app.models import (
    AuditEntry,
    CatalogItem,
    Guest,
    KnownIdentity,
    Machine,
    Order,
    Source,
    Submission,
    Task,
    Team,
)

_LONGEST_KEY = 18  # digits
_PLACES: dict[str, tuple[str, Callable[[User], QuerySet[Any]]]] = {
    "task": ("portal:task", lambda user: Task.objects.visible_to(user)),
    "source": ("portal:source", lambda user: Source.objects.visible_to(user)),
    "submission": ("portal:submission", lambda user: Submission.objects.visible_to(user)),
    "order": ("portal:order", lambda user: Order.objects.visible_to(user)),
    "machine": ("portal:machine", lambda user: Machine.objects.visible_to(user)),
    "guest": ("portal:guest", lambda user: Guest.objects.visible_to(user)),
    "team": ("portal:team", lambda user: Team.objects.visible_to(user)),
    "catalogitem": ("portal:item", lambda user: _for(user, Verb.SEE_ITEM, CatalogItem.objects.all())),
    "user": ("portal:person", lambda user: _for(user, Verb.MANAGE_PEOPLE, User.objects.all())),
    "knownidentity": (
        "portal:identity-change",
        lambda user: _for(user, Verb.MANAGE_PEOPLE, KnownIdentity.objects.all()),
    ),
}


def links_of(entries: Iterable[AuditEntry], user: User) -> dict[str, str]:
    """`kind:id` → address. One query for each kind of thing, two where a role is asked for."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for entry in entries:
        if entry.target_kind in _PLACES and _is_key(entry.target_id):
            wanted[entry.target_kind].add(int(entry.target_id))
    found = {}
    for kind, pks in wanted.items():
        name, visible = _PLACES[kind]
        for pk in visible(user).filter(pk__in=pks).values_list("pk", flat=True):
            found[f"{kind}:{pk}"] = reverse(name, args=[pk])
    return found


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_KEY


def _for(user: User, verb: Verb, rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows if can(user, verb) else rows.none()
