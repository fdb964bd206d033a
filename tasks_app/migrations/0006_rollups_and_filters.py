"""Counts over long times, outcomes in the tally, and an index for each filter of the history."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0005_history")]

    operations = [
        migrations.CreateModel(
            name="TaskRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "grain",
                    models.CharField(
                        choices=[
                            ("w", "Week"),
                            ("m", "Month"),
                            ("y", "Year"),
                            ("D", "Day Of All Nodes"),
                            ("W", "Week Of All Nodes"),
                            ("M", "Month Of All Nodes"),
                        ],
                        max_length=1,
                    ),
                ),
                ("day", models.DateField()),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tasks_app.source"
                    ),
                ),
                ("node", models.CharField(blank=True, max_length=100)),
                ("type", models.CharField(max_length=60)),
                ("outcome", models.CharField(max_length=20)),
                ("count", models.BigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["grain", "day", "source", "node", "type", "outcome"], name="rollup_once"
                    )
                ]
            },
        ),
        migrations.RemoveConstraint(model_name="tasktally", name="tally_once"),
        migrations.RenameField(model_name="tasktally", old_name="state", new_name="outcome"),
        migrations.AddConstraint(
            model_name="tasktally",
            constraint=models.UniqueConstraint(
                fields=["day", "source", "node", "type", "outcome"], name="tally_once"
            ),
        ),
        migrations.RemoveIndex(model_name="task", name="task_unacknowledged"),
        migrations.RemoveIndex(model_name="task", name="task_person_newest"),
        *(
            migrations.AddIndex(
                model_name="task",
                index=models.Index(fields=[field, "-started_at", "-id"], name=f"task_{name}_newest"),
            )
            for field, name in (("node", "node"), ("remote_user", "user"), ("person", "person"))
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                fields=["new_vmid"], name="task_new_vmid", condition=models.Q(new_vmid__isnull=False)
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                fields=["-started_at", "-id"],
                name="task_warnings_newest",
                condition=models.Q(warnings__gt=0),
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["type", "state", "-started_at", "-id"], name="task_type_state"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                fields=["-started_at", "-id"],
                name="task_unacknowledged",
                condition=models.Q(state__in=["failed", "lost"], acknowledged_at__isnull=True),
            ),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(fields=["request_id"], name="generation_request"),
        ),
        migrations.AddIndex(
            model_name="submission",
            index=models.Index(fields=["request_id"], name="submission_request"),
        ),
    ]
