"""The project's herd, for a process in which nothing has set Django up: `oxherd.django.application:herd`."""

from __future__ import annotations

import django
from django.apps import apps

from oxherd.app import Oxherd
from oxherd.django.project import project_herd
from oxherd.django.settings import require_settings


def _set_up() -> Oxherd:
    if not apps.ready:
        require_settings()
        django.setup()
    return project_herd()


herd = _set_up()
