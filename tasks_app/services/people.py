"""Adding and changing people and their roles. Superusers are changed by superusers only, and the last one stays."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import Grant, Role, Source


@transaction.atomic
def add_person(
    *, actor: User | None, username: str, email: str, password: str, is_superuser: bool = False
) -> User:
    """A new person without any role, who may sign in with `password`.

    Raises NotPermitted, InvalidInput (username, email, password). Only superusers add superusers.
    """
    _require(actor)
    if is_superuser:
        _require_superuser(actor)
    person = create_user(username=username, email=email, password=password, is_superuser=is_superuser)
    record(Action.PERSON_ADD, actor=actor, target=person, email=person.email, is_superuser=is_superuser)
    return person


@transaction.atomic
def change_person(
    person: User,
    *,
    actor: User | None,
    is_active: bool | None = None,
    email: str | None = None,
    is_superuser: bool | None = None,
) -> None:
    """Change what is given. Who is not active cannot sign in, and open sessions end at once.

    Raises NotPermitted, InvalidInput (email), and Refused when nobody could administer the portal any more.
    """
    _require(actor)
    # locked, so that two admins cannot take each other's rights away at the same moment
    superusers = set(
        User.objects.select_for_update()
        .filter(is_superuser=True, is_active=True)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    person.refresh_from_db()
    if person.is_superuser or is_superuser:
        _require_superuser(actor)
    wanted: dict[str, Any] = {"is_active": is_active, "email": email, "is_superuser": is_superuser}
    before = {name: getattr(person, name) for name in wanted}
    after = before | {name: value for name, value in wanted.items() if value is not None}
    if before == after:
        return
    if superusers == {person.pk} and not (after["is_active"] and after["is_superuser"]):
        raise Refused(f"{person} is the only active superuser. Make somebody else a superuser first.")
    for name, value in after.items():
        setattr(person, name, value)
    person.is_staff = person.is_superuser
    _clean(person)
    person.save(update_fields=[*after, "is_staff"])
    changed = [name for name in after if before[name] != after[name]]
    record(
        Action.PERSON_CHANGE,
        actor=actor,
        target=person,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )


@transaction.atomic
def set_password(person: User, *, actor: User | None, password: str) -> None:
    """Give `person` a new password; all their sessions end. Raises NotPermitted, InvalidInput (password)."""
    if actor != person:  # everybody may change their own
        _require(actor)
        if person.is_superuser:
            _require_superuser(actor)
    _check_password(password, person)
    person.set_password(password)
    person.save(update_fields=["password"])
    record(Action.PERSON_PASSWORD, actor=actor, target=person)


@transaction.atomic
def remove_second_factor(person: User, *, actor: User | None) -> None:
    """Let them sign in with the password alone until they set up another: for who has lost theirs.

    Removing what is not there is harmless. Raises NotPermitted.
    """
    _require(actor)
    if person.is_superuser:
        _require_superuser(actor)
    factors = Authenticator.objects.filter(user=person)
    kinds = sorted(factors.values_list("type", flat=True))
    if kinds:
        factors.delete()
        record(Action.PERSON_SECOND_FACTOR, actor=actor, target=person, change="removed", kinds=kinds)


@transaction.atomic
def grant_role(person: User, *, actor: User | None, role: Role | str, source: Source | None) -> Grant:
    """Give `person` the role on `source`, or on all sources when None. A role that is held stays as it is."""
    _require(actor)
    if role not in Role.values:
        raise InvalidInput(role=f"There is no role “{role}”.")
    grant, created = Grant.objects.get_or_create(user=person, source=source, role=Role(role))
    if created:
        record(Action.GRANT_ADD, actor=actor, target=person, source=source, **_words(grant))
    return grant


@transaction.atomic
def revoke_role(grant: Grant, *, actor: User | None) -> None:
    """Take the role away. Taking it twice is harmless."""
    _require(actor)
    deleted, _ = Grant.objects.filter(pk=grant.pk).delete()
    if deleted:
        record(Action.GRANT_REMOVE, actor=actor, target=grant.user, source=grant.source, **_words(grant))


def create_user(*, username: str, email: str, password: str, is_superuser: bool) -> User:
    """A checked and saved person, without permission and audit: those are the caller's. Raises InvalidInput."""
    person = User(
        username=User.normalize_username(username.strip()),
        email=User.objects.normalize_email(email.strip()),
        is_superuser=is_superuser,
        is_staff=is_superuser,
    )
    _check_password(password, person)
    person.set_password(password)
    _clean(person)
    if User.objects.filter(username__iexact=person.username).exists():
        raise InvalidInput(username="Somebody has this name already.")
    try:
        with transaction.atomic():
            person.save()
    except IntegrityError:
        raise InvalidInput(username="Somebody has this name already.") from None
    return person


def _require(actor: User | None) -> None:
    if actor is not None:
        require(actor, Verb.MANAGE_PEOPLE)


def _require_superuser(actor: User | None) -> None:
    """An admin who could add or take over a superuser would be one."""
    if actor is not None and not (actor.is_active and actor.is_superuser):
        raise NotPermitted("Only superusers may add or change superusers.")


def _check_password(password: str, person: User) -> None:
    try:
        validate_password(password, person)
    except ValidationError as error:
        raise InvalidInput(password=" ".join(error.messages)) from None


def _clean(person: User) -> None:
    try:
        person.clean_fields()
    except ValidationError as error:
        raise InvalidInput(**{name: " ".join(texts) for name, texts in error.message_dict.items()}) from None


def _words(grant: Grant) -> dict[str, Any]:
    return {"role": str(grant.role), "on": grant.source.name if grant.source else "all sources"}
