"""Who may see the dashboard and act on it, as Django's permissions."""

from __future__ import annotations

from django.db import models


class Dashboard(models.Model):
    """The dashboard, which has no table: what it shows is in Redis."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = (("operate_dashboard", "Can retry, discard, pause and limit events"),)
        verbose_name = "dashboard"
        verbose_name_plural = "dashboard"
