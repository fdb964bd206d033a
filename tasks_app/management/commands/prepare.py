"""`manage.py prepare`: brings database, static files and schedules to what this version needs; harmless to repeat."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from tasks_app import queue


class Command(BaseCommand):
    """A command of its own, because what it loads need not stay in the memory of the supervisor."""

    help = "Migrate the database, collect static files, check the settings, write the schedules."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("check", stdout=self.stderr)
        queue.ensure_schedules()
