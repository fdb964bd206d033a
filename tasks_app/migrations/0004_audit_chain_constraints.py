"""After the data, in a transaction of its own: PostgreSQL alters no table that has changes waiting."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0003_audit_chain")]

    operations = [
        migrations.AlterField("auditentry", "number", models.PositiveBigIntegerField(unique=True)),
        migrations.AlterField("auditentry", "previous_hash", models.CharField(max_length=64)),
        migrations.AlterField("auditentry", "hash", models.CharField(max_length=64)),
        migrations.AddIndex(
            "auditentry",
            models.Index(
                condition=models.Q(("request_id", ""), _negated=True), fields=["request_id"], name="audit_request"
            ),
        ),
        migrations.AddIndex(
            "auditentry", models.Index(fields=["actor_name", "-at", "-id"], name="audit_actor")
        ),
        migrations.AddIndex("auditentry", models.Index(fields=["action", "-at", "-id"], name="audit_action")),
    ]
