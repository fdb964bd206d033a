"""The first start: a one-time link with which the first admin sets name and password. No default password exists."""

import hashlib
import secrets

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import Refused
from tasks_app.models import SetupToken
from tasks_app.services.people import create_user


def has_admin() -> bool:
    """Whether somebody can administer the portal: an active superuser with a password that works."""
    candidates = User.objects.filter(is_superuser=True, is_active=True)
    return any(person.has_usable_password() for person in candidates.only("password"))


@transaction.atomic
def make_setup_link() -> str | None:
    """`/setup/<token>/`, or None when there is an admin already. A new link makes the older ones worthless.

    Only a hash is kept, so the link cannot be shown again.
    """
    SetupToken.objects.filter(used_at__isnull=True).delete()
    if has_admin():
        return None
    token = secrets.token_urlsafe(32)
    SetupToken.objects.create(token_hash=_hash(token))
    return f"/setup/{token}/"


def is_link_open(token: str) -> bool:
    """Whether the link of `token` would be accepted now."""
    return (
        SetupToken.objects.filter(token_hash=_hash(token), used_at__isnull=True).exists() and not has_admin()
    )


@transaction.atomic
def set_up_admin(token: str, *, username: str, password: str, email: str) -> User:
    """Use the link up and make its holder the first superuser.

    Raises Refused for a link that is used, replaced or made up; InvalidInput (username, password, email) leaves
    the link usable.
    """
    used = SetupToken.objects.filter(token_hash=_hash(token), used_at__isnull=True).update(used_at=now())
    if not used or has_admin():
        raise Refused("This link has been used or replaced. A newer one is printed when the portal starts.")
    person = create_user(username=username, email=email, password=password, is_superuser=True)
    record(Action.PERSON_SETUP, actor=person, target=person, email=person.email)
    return person


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
