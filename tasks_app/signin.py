"""Sign-in, failed sign-in and sign-out leave audit entries."""

from typing import Any

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
