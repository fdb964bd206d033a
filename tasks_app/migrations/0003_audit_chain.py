"""The audit trail becomes a chain: entries there are already are numbered and sealed in the order they were written."""

import django.utils.timezone
from django.db import migrations, models

from tasks_app.models.audit import GENESIS

CHUNK = 1000


def chain_existing(apps, schema_editor):
    from tasks_app.audit.chain import plain, plain_address, seal

    entries = apps.get_model("tasks_app", "AuditEntry").objects
    number, last_hash, last_pk = 0, GENESIS, 0
    while chunk := list(entries.filter(pk__gt=last_pk).order_by("pk")[:CHUNK]):
        for row in chunk:
            number, last_pk = number + 1, row.pk
            row.number, row.previous_hash = number, last_hash
            row.data, row.ip = plain(row.data), plain_address(row.ip)
            row.hash = last_hash = seal(row, last_hash)
        entries.bulk_update(chunk, ["number", "previous_hash", "hash", "data", "ip"])
    if number:
        apps.get_model("tasks_app", "AuditHead").objects.create(pk=1, number=number, hash=last_hash)


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0002_generation")]

    operations = [
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveBigIntegerField(default=0)),
                ("hash", models.CharField(default=GENESIS, max_length=64)),
                ("purged_to", models.PositiveBigIntegerField(default=0)),
                ("purged_hash", models.CharField(default=GENESIS, max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name="AuditMark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=20, unique=True)),
                ("number", models.PositiveBigIntegerField(default=0)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("problem", models.TextField(blank=True)),
            ],
        ),
        migrations.AddField("auditentry", "number", models.PositiveBigIntegerField(null=True)),
        migrations.AddField("auditentry", "previous_hash", models.CharField(max_length=64, default="")),
        migrations.AddField("auditentry", "hash", models.CharField(max_length=64, default="")),
        migrations.RunPython(chain_existing, migrations.RunPython.noop),
    ]
