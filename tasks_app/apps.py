"""The app: wires sign-in to the audit trail, guards it by triggers, and keeps workers from outliving their parent."""

import ctypes
import os
import signal
import sys

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate

_PR_SET_PDEATHSIG = 1  # prctl(2)


class TasksAppConfig(AppConfig):
    """Loaded once per process."""

    name = "tasks_app"
    verbose_name = "Task portal"

    def ready(self) -> None:
        """Connect receivers and checks; in a worker cluster make every forked process die with its parent."""
        from tasks_app import checks, signin  # noqa: F401
        from tasks_app.models import search_sql, triggers

        # After every migration and not in one: rebuilding a table on SQLite drops its triggers.
        post_migrate.connect(triggers.install_after_migrate, sender=self)
        pre_migrate.connect(search_sql.remove_before_migrate, sender=self)
        post_migrate.connect(search_sql.install_after_migrate, sender=self)

        if "qcluster" in sys.argv and sys.platform == "linux":
            # django-q2's children survive a killed main process and go on working beside its replacement.
            os.register_at_fork(after_in_child=_die_with_parent)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
