"""The Django app, which has the table."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """The table of events that wait for their commit, and for Redis."""

    name = "oxherd.outbox.django"
    label = "oxherd_outbox"
    verbose_name = "oxherd outbox"
    default_auto_field = "django.db.models.BigAutoField"
