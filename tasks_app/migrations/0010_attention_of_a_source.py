"""An index for the failures of one source that nobody has acknowledged."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0009_team_of_a_task")]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                fields=["source", "-started_at", "-id"],
                name="task_attention_of_source",
                condition=Q(state__in=["failed", "lost"], acknowledged_at__isnull=True),
            ),
        ),
    ]
