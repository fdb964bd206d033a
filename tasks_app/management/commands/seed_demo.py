"""`manage.py seed_demo`: fills the demo with a past, items, teams, orders and videos; started by `serve --demo`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.supervisor import demo, history, showcase


class Command(BaseCommand):
    """Only ever touches a portal whose demo source exists; what was made once is not made again."""

    help = (
        "Make catalogue items, teams, orders, first videos and a past of 90 days on the demo's sources, once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tasks",
            type=int,
            default=history.TASKS,
            help=f"tasks of the made-up past; 0 for none ({history.TASKS})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        cluster = demo.CLUSTER.source
        if cluster is None:
            raise CommandError("There is no demo cluster here. Start one with: bin/run")
        showcase.seed(cluster)
        if (rendering := demo.STUDIO.source) is not None:
            showcase.seed_studio(rendering)
        # Last: it takes a minute or two, and what people do first is there already.
        if options["tasks"] > 0 and showcase.wait_for_sync(cluster):
            history.seed_history(cluster, count=options["tasks"])
