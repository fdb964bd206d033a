"""`manage.py prepare`: brings database, static files and schedules to what this version needs; harmless to repeat."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader

from tasks_app import queue


class Command(BaseCommand):
    """A command of its own, because what it loads need not stay in the memory of the supervisor."""

    help = "Migrate the database, collect static files, check the settings, write the schedules."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        _check_services()
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("check", stdout=self.stderr)
        queue.ensure_schedules()


def _check_services() -> None:
    """The database answers and is not newer than this code; so does Redis, where jobs go through it."""
    try:
        loader = MigrationLoader(connection)
    except DatabaseError as error:
        raise CommandError(
            f"The database does not answer: {_first_line(error)}. Start it, or look at PORTAL_DATABASE_URL."
        ) from None
    applied = {name for app, name in loader.applied_migrations if app == "tasks_app"}
    unknown = sorted(applied - {name for app, name in loader.disk_migrations if app == "tasks_app"})
    if unknown:
        raise CommandError(
            f"The database was made by a newer version of the portal (it has {unknown[-1]}). Install that version, or "
            "give this one its own database: --data-dir, or PORTAL_DATABASE_URL."
        )
    problem = queue.broker_problem()
    if problem:
        raise CommandError(f"Redis does not answer: {problem}. Start it, or look at PORTAL_REDIS_URL.")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
