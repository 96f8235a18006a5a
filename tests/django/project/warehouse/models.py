"""What the suites store."""

from django.db import models


class Box(models.Model):
    """A box."""

    label = models.CharField(max_length=50)
    seen = models.IntegerField(default=0)
