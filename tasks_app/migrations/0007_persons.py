"""Tasks that people asked for here before persons were kept: each gets the one who asked."""

from collections import defaultdict

from django.db import migrations, transaction

BATCH = 500


def name_askers(apps, schema_editor):
    tasks = apps.get_model("tasks_app", "Task").objects.using(schema_editor.connection.alias)
    for asked_by in ("submission__actor_name", "generation__actor_name"):
        nameless = tasks.filter(person="", **{f"{asked_by}__gt": ""}).order_by("pk")
        last = 0
        while batch := list(nameless.filter(pk__gt=last).values_list("pk", asked_by)[:BATCH]):
            last = batch[-1][0]
            by_name = defaultdict(list)
            for pk, name in batch:
                by_name[name].append(pk)
            with transaction.atomic(using=schema_editor.connection.alias):
                for name, pks in by_name.items():
                    tasks.filter(pk__in=pks).update(person=name)


class Migration(migrations.Migration):
    atomic = False  # batch by batch: a portal with a million tasks does not wait for one transaction

    dependencies = [("tasks_app", "0006_rollups_and_filters")]

    operations = [migrations.RunPython(name_askers, migrations.RunPython.noop)]
