from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0007_persons")]

    operations = [
        migrations.AddField(
            model_name="retentionperiod",
            name="purging_until",
            field=models.DateTimeField(null=True),
        ),
    ]
