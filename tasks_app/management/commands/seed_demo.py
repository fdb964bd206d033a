"""`manage.py seed_demo`: fills the demo with items, teams and orders; started by `serve --demo`, harmless to repeat."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.supervisor import showcase
from tasks_app.models import Source


class Command(BaseCommand):
    """Only ever touches a portal whose demo source exists and that has no team yet."""

    help = "Make catalogue items, teams and orders on the demo cluster, once."

    def handle(self, *args: Any, **options: Any) -> None:
        source = Source.objects.filter(is_demo=True).first()
        if source is None:
            raise CommandError("There is no demo cluster here. Start one with: bin/run")
        showcase.seed(source)
