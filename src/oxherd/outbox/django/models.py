"""The table, one row for each event that waits."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import models


class OutboxRow(models.Model):
    """An event that is sent once its transaction is committed; `error` says why it cannot be."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(primary_key=True, editable=False)
    event: models.CharField[str, str] = models.CharField(max_length=128)
    payload: models.TextField[str, str] = models.TextField()
    lineage: models.TextField[str, str] = models.TextField(blank=True)
    options: models.TextField[str, str] = models.TextField()
    emitted_at: models.DateTimeField[datetime, datetime] = models.DateTimeField()
    error: models.CharField[str | None, str | None] = models.CharField(max_length=128, null=True)

    class Meta:
        """As the table of the outbox for SQLAlchemy."""

        db_table = "oxherd_outbox"
        verbose_name = "event that waits"
        verbose_name_plural = "events that wait"

    def __str__(self) -> str:
        return f"{self.event} {self.id}"
