"""Sign-in, failed sign-in and sign-out, and what people change about their own, leave audit entries."""

from typing import Any

from allauth.account.signals import password_changed, password_set
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry


@receiver(user_logged_in)
def _logged_in(user: AbstractBaseUser, **_: Any) -> None:
    record(Action.LOGIN, actor=user)


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


@receiver(authenticator_added)
def _second_factor_added(user: AbstractBaseUser, authenticator: Authenticator, **_: Any) -> None:
    _note_second_factor(user, authenticator, "added")


@receiver(authenticator_removed)
def _second_factor_removed(user: AbstractBaseUser, authenticator: Authenticator, **_: Any) -> None:
    _note_second_factor(user, authenticator, "removed")


@receiver(authenticator_reset)
def _second_factor_reset(user: AbstractBaseUser, authenticator: Authenticator, **_: Any) -> None:
    _note_second_factor(user, authenticator, "renewed")


def _note_second_factor(user: AbstractBaseUser, authenticator: Authenticator, change: str) -> None:
    record(Action.PERSON_SECOND_FACTOR, actor=user, target=user, change=change, kind=str(authenticator.type))


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
