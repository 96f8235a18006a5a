"""What the shop stores."""

from django.db import models


class Order(models.Model):
    """An order, and what has become of it."""

    item = models.CharField(max_length=100)
    confirmed = models.IntegerField(default=0)  # how often its confirmation was written
    invoice = models.CharField(max_length=100, blank=True)
