"""The text index of PostgreSQL also knows the time; see `models/search_sql.py`."""

from django.db import migrations


def add_extension(apps, schema_editor):
    # Not Django's BtreeGinExtension, which cannot be undone on SQLite.
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0010_attention_of_a_source")]

    operations = [migrations.RunPython(add_extension, migrations.RunPython.noop)]
