"""The table of events that wait."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first."""

    initial = True
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("event", models.CharField(max_length=128)),
                ("payload", models.TextField()),
                ("lineage", models.TextField(blank=True)),
                ("options", models.TextField()),
                ("emitted_at", models.DateTimeField()),
                ("error", models.CharField(max_length=128, null=True)),
            ],
            options={
                "verbose_name": "event that waits",
                "verbose_name_plural": "events that wait",
                "db_table": "oxherd_outbox",
            },
        ),
    ]
