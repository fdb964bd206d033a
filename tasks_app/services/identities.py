"""Whose a Proxmox user or token is, as far as people have said: kept by admins of the portal.

A change is applied to the tasks by a job that follows the audit trail: the mark `persons` is the last entry about an
identity whose tasks carry the name. What was changed a moment ago is looked at once more, because a pass may have read
the map before and written its tasks after.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import sleep as real_sleep
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import note
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.ingest.persons import foreign_tasks, name_again
from tasks_app.models import AuditEntry, AuditMark, KnownIdentity, Source, Task
from tasks_app.queue import Job, enqueue, stay_busy

NAMED = "persons"
MOST_NAME_CHARACTERS = 200
SETTLE_SECONDS = 30
"""The longest transaction in which tasks are written is far shorter."""
MOST_ENTRIES = 500
LOOKED_AT = 20_000
"""Tasks among which unknown identities are counted, newest first: some tens of milliseconds whatever the history."""
_ASKED_SECONDS = 60
_ASKED = "name-persons"
_USER = re.compile(r"[^\s:/!@]+(?:@[^\s:/!@]+)*@[A-Za-z][A-Za-z0-9._-]*")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_CHANGES = (Action.IDENTITY_ADD.value, Action.IDENTITY_CHANGE.value, Action.IDENTITY_REMOVE.value)


@dataclass(frozen=True, slots=True)
class Unknown:
    """An identity without a person, and how many of the newest tasks carry it."""

    source: Source
    remote_user: str
    remote_token: str
    count: int


@transaction.atomic
def add_identity(
    *, actor: User | None, source: Source | None, remote_user: str, remote_token: str = "", person_name: str
) -> KnownIdentity:
    """Say that this user, or this token of one, is `person_name`: on `source`, or on every cluster when None.

    An `actor` of None is the portal itself. `remote_user` may bring its token along: `ann@pve!web`. The name of
    somebody who can sign in joins both.
    Raises NotPermitted, InvalidInput (source, remote_user, remote_token, person_name).
    """
    if actor is not None:
        require(actor, Verb.MANAGE_PEOPLE)
    user, token = _check_identity(source, remote_user, remote_token)
    identity = KnownIdentity(source=source, remote_user=user, remote_token=token)
    _set_person(identity, person_name)
    try:
        with transaction.atomic():
            identity.save()
    except IntegrityError:
        raise InvalidInput(remote_user="It is in the list already: change the person there.") from None
    record(Action.IDENTITY_ADD, actor=actor, target=identity, identity=_key(identity), after=_facts(identity))
    _name_soon()
    return identity


@transaction.atomic
def change_identity(identity: KnownIdentity, *, actor: User, person_name: str) -> None:
    """Say that it is somebody else. The same name again changes nothing. Raises NotPermitted, InvalidInput."""
    require(actor, Verb.MANAGE_PEOPLE)
    identity = KnownIdentity.objects.select_for_update(of=("self",)).get(pk=identity.pk)
    before = _facts(identity)
    _set_person(identity, person_name)
    if _facts(identity) == before:
        return
    identity.save(update_fields=["person_name", "person"])
    record(
        Action.IDENTITY_CHANGE,
        actor=actor,
        target=identity,
        identity=_key(identity),
        before=before,
        after=_facts(identity),
    )
    _name_soon()


@transaction.atomic
def remove_identity(identity: KnownIdentity, *, actor: User) -> None:
    """Nobody knows any more whose it is. Removing twice is harmless. Raises NotPermitted."""
    require(actor, Verb.MANAGE_PEOPLE)
    row = KnownIdentity.objects.select_for_update(of=("self",)).filter(pk=identity.pk).first()
    if row is not None:
        record(Action.IDENTITY_REMOVE, actor=actor, target=row, identity=_key(row), before=_facts(row))
        row.delete()
        _name_soon()


def find_unknown(limit: int = 10) -> list[Unknown]:
    """The identities of the newest LOOKED_AT tasks that most often have no person. Not those of the portal itself."""
    newest = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    tasks = foreign_tasks().filter(pk__gt=newest - LOOKED_AT, person="").exclude(remote_user="")
    counted = (
        tasks.order_by()
        .values_list("source_id", "remote_user", "remote_token")
        .annotate(count=Count("pk"))
        .order_by("-count", "source_id", "remote_user", "remote_token")
    )
    sources = Source.objects.in_bulk()
    # Named a moment ago: their tasks follow soon.
    known = set(KnownIdentity.objects.values_list("source_id", "remote_user", "remote_token"))
    found = [
        Unknown(sources[source_id], user, token, count)
        for source_id, user, token, count in counted[: limit + len(sources) + len(known)]
        if source_id in sources
        and _words(user, token) != sources[source_id].token_id
        and known.isdisjoint({(source_id, user, token), (None, user, token)})
    ]
    return found[:limit]


def name_persons(*, sleep: Callable[[float], None] = real_sleep) -> int:
    """Write the persons of the tasks whose identity was changed; how many tasks changed. Often is harmless."""
    at = now()
    changes = list(_unapplied().order_by("number")[:MOST_ENTRIES])
    identities = {(str(user), str(token)) for user, token in (entry.data["identity"] for entry in changes)}
    changed = name_again(identities, sleep=sleep, on_range=_stay_busy)
    settled = [entry.number for entry in changes if entry.at < at - timedelta(seconds=SETTLE_SECONDS)]
    if settled:
        note(NAMED, settled[-1])
    return changed


def pick_up() -> None:
    """Enqueue the job where a change is not applied, unless that was done a moment ago or it runs."""
    if _unapplied().exists() and cache.add(_ASKED, 1, _ASKED_SECONDS):
        enqueue(Job.NAME_PERSONS)


def _unapplied() -> QuerySet[AuditEntry]:
    done = AuditMark.objects.filter(name=NAMED).values_list("number", flat=True).first() or 0
    return AuditEntry.objects.filter(action__in=_CHANGES, number__gt=done)


def _stay_busy() -> None:
    stay_busy()
    cache.set(_ASKED, 1, _ASKED_SECONDS)


def _check_identity(source: Source | None, remote_user: str, remote_token: str) -> tuple[str, str]:
    """User and token in their one form."""
    user, token = remote_user.strip(), remote_token.strip()
    if not token:
        user, _, token = user.partition("!")
    problems: dict[str, str] = {}
    if source is not None and source.is_generation:
        problems["source"] = f"{source.name} has no Proxmox users."
    if not _USER.fullmatch(user) or not user.isprintable() or len(user) > 200:
        problems["remote_user"] = "Give a user with its realm, as Proxmox writes it: ann@pve."
    if token and (not _TOKEN.fullmatch(token) or len(token) > 100):
        problems |= {
            "remote_token": "Give the name of the token, which is what follows the exclamation mark."
        }
    sources = Source.objects.filter(pk=source.pk) if source is not None else Source.objects.all()
    own = next((row for row in sources if token and row.token_id == _words(user, token)), None)
    if own is not None:
        problems["remote_token"] = (
            f"With this token the portal itself works on {own.name}: its tasks name whoever asked for them here."
        )
    if problems:
        raise InvalidInput(**problems)
    return user, token


def _set_person(identity: KnownIdentity, person_name: str) -> None:
    name = " ".join(person_name.split())
    if not 0 < len(name) <= MOST_NAME_CHARACTERS or not name.isprintable():
        raise InvalidInput(person_name=f"Give a name of at most {MOST_NAME_CHARACTERS} characters.")
    identity.person_name = name
    identity.person = User.objects.filter(username=name).first()


def _words(user: str, token: str) -> str:
    return f"{user}!{token}" if token else user


def _facts(identity: KnownIdentity) -> dict[str, Any]:
    return {
        "identity": _words(identity.remote_user, identity.remote_token),
        "source": identity.source.name if identity.source else "every cluster",
        "person": identity.person_name,
        "can_sign_in": identity.person_id is not None,
    }


def _key(identity: KnownIdentity) -> list[str]:
    """What the job looks for among the tasks."""
    return [identity.remote_user, identity.remote_token]


def _name_soon() -> None:
    transaction.on_commit(partial(enqueue, Job.NAME_PERSONS))
