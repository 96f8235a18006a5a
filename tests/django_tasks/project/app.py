"""What the command line calls MODULE:HERD."""

from __future__ import annotations

import django

django.setup()

from oxherd.django import herd  # noqa: E402
from oxherd.django.tasks.interface import task_backends  # noqa: E402

for backend in task_backends.all():
    backend.declare()

__all__ = ["herd"]
