"""`manage.py seed_demo`: fills the demo with items, teams, orders and videos; started by `serve --demo`, repeatable."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.supervisor import demo, showcase


class Command(BaseCommand):
    """Only ever touches a portal whose demo source exists and that has no team yet."""

    help = "Make catalogue items, teams, orders and first videos on the demo's sources, once."

    def handle(self, *args: Any, **options: Any) -> None:
        cluster = demo.CLUSTER.source
        if cluster is None:
            raise CommandError("There is no demo cluster here. Start one with: bin/run")
        showcase.seed(cluster)
        if (rendering := demo.STUDIO.source) is not None:
            showcase.seed_studio(rendering)
