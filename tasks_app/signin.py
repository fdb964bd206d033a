"""Sign-in, failed sign-in and sign-out, and what people change about their own, leave audit entries."""

from typing import Any

from allauth.account.signals import password_changed, password_set
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authentication_failed
from django.contrib.auth.models import AbstractBaseUser, User, update_last_login
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry

# Whoever else notes a sign-in comes after the entry: without it nothing is written.
user_logged_in.disconnect(dispatch_uid="update_last_login")


@receiver(user_logged_in)
def _logged_in(user: AbstractBaseUser, **_: Any) -> None:
    record(Action.LOGIN, actor=user)


user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


@receiver(user_logged_out)
def _logged_out(user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        record(Action.LOGOUT, actor=user)


@receiver(user_login_failed)
def _login_failed(credentials: dict[str, Any], **_: Any) -> None:
    name = str(credentials.get("username") or credentials.get("login") or "")[:200]
    record(Action.LOGIN_FAILED, actor=None, target_name=name, result=AuditEntry.Result.REFUSED)


@receiver([password_changed, password_set])
def _password_changed(user: AbstractBaseUser, **_: Any) -> None:
    record(Action.PERSON_PASSWORD, actor=user, target=user)


def second_factors_of(person: User) -> dict[int, str]:
    """Key → kind of what they set up besides their password."""
    return dict(Authenticator.objects.filter(user=person).values_list("pk", "type"))


def note_second_factors(person: User, before: dict[int, str]) -> None:
    """One entry when they are others than `before`. allauth tells of them only after the commit, which is too late."""
    after = second_factors_of(person)
    gone = {kind for key, kind in before.items() if key not in after}
    new = {kind for key, kind in after.items() if key not in before}
    if not gone and not new:
        return
    change = "changed" if gone and new else "added" if new else "removed"
    if gone == new:
        change = "renewed"
    record(Action.PERSON_SECOND_FACTOR, actor=person, target=person, change=change, kinds=sorted(gone | new))


@receiver(authentication_failed)
def _second_factor_failed(user: AbstractBaseUser, **_: Any) -> None:
    name = user.get_username()
    record(
        Action.LOGIN_FAILED,
        actor=None,
        target_name=name,
        result=AuditEntry.Result.REFUSED,
        reason="wrong code",
    )
