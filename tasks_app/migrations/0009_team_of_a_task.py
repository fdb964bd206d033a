"""A task has its team as a column; the indexes that follow from it, and three that serve the order of the list."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import OuterRef, Q, Subquery


def fill(apps, schema_editor):
    Task = apps.get_model("tasks_app", "Task")
    submission = apps.get_model("tasks_app", "Submission").objects.filter(pk=OuterRef("submission_id"))
    generation = apps.get_model("tasks_app", "Generation").objects.filter(task_id=OuterRef("pk"))
    asked = Task.objects.filter(submission__machine__isnull=False)
    asked.update(owner_team_id=Subquery(submission.values("machine__team_id")[:1]))
    made = Task.objects.filter(generation__team__isnull=False)
    made.update(owner_team_id=Subquery(generation.values("team_id")[:1]))


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0008_purge_lease")]

    operations = [
        migrations.RemoveIndex(model_name="task", name="task_new_vmid"),
        migrations.RemoveIndex(model_name="task", name="task_warnings_newest"),
        migrations.RemoveIndex(model_name="task", name="task_unacknowledged"),
        migrations.AddField(
            model_name="task",
            name="owner_team",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="tasks_app.team",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        *(
            migrations.AddIndex(
                model_name="task",
                index=models.Index(fields=[field, "-started_at", "-id"], name=name, condition=condition),
            )
            for field, name, condition in (
                ("new_vmid", "task_new_vmid_newest", Q(new_vmid__isnull=False)),
                ("owner_team", "task_team_newest", Q(owner_team__isnull=False)),
                ("state", "task_warned_newest", Q(warnings__gt=0)),
                (
                    "acknowledged_at",
                    "task_attention_newest",
                    Q(state__in=["failed", "lost"], acknowledged_at__isnull=True),
                ),
            )
        ),
    ]
