"""The system checks: `manage.py check`, and with `--deploy` what only matters there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core import checks

from oxherd.django.project import project_herd
from oxherd.django.settings import find_faults


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """E001: a setting of OXHERD is unknown, or its value cannot be used."""
    return [checks.Error(fault, id="oxherd.E001") for fault in find_faults()]


def check_handlers(**_: Any) -> list[checks.CheckMessage]:
    """E002: a handler's own process could not set Django up."""
    return list(_handlers_without_settings()) if not any(find_faults()) else []


def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """W001: nothing names a server, so it would be the embedded one."""
    if any(find_faults()):
        return []
    url = getattr(settings, "OXHERD", {}).get("URL") or os.environ.get("OXHERD_URL")
    if url:
        return []
    hint = 'Set OXHERD["URL"] or $OXHERD_URL; OXHERD["EMBEDDED"] = False refuses the embedded server.'
    return [
        checks.Warning("oxherd has no server of its own here, and would start an embedded one.", hint, id="oxherd.W001")
    ]


def check_pools(**_: Any) -> list[checks.CheckMessage]:
    """W002: a pool hands out connections that it has not tried."""
    return [
        checks.Warning(
            f"DATABASES[{alias!r}] has a pool, which hands out connections untried: after a restart of the database, "
            "each of them costs an event an attempt.",
            'Set "CONN_HEALTH_CHECKS": True for it, beside "OPTIONS".',
            id="oxherd.W002",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("OPTIONS", {}).get("pool") and not database.get("CONN_HEALTH_CHECKS")
    ]


def _handlers_without_settings() -> Iterator[checks.CheckMessage]:
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return
    for event in project_herd():
        if event.handler is not None and event.handler.run_in == "process":
            yield checks.Error(
                f'{event.name} has a handler with run_in="process", whose process cannot find the settings.',
                f"Set {ENVIRONMENT_VARIABLE}; settings.configure() reaches this process only.",
                id="oxherd.E002",
            )
