"""The herd of a Django project, one for the process."""

from __future__ import annotations

import threading
from pathlib import Path

from django.conf import settings

from oxherd.app import Oxherd
from oxherd.django.connections import clean_connections, close_idle_connections, close_thread_of_run
from oxherd.django.on_commit import OnCommitEvent
from oxherd.django.settings import read_settings

# What a worker imports by itself: it sets Django up.
APPLICATION = "oxherd.django.application"

_lock = threading.Lock()
_made: list[Oxherd] = []


def project_herd() -> Oxherd:
    """The project's herd, made from the settings on first use.

    Raises:
        ConfigError: the settings are not configured yet, or OXHERD is wrong.
    """
    with _lock:
        if not _made:
            _made.append(_make())
        return _made[0]


def _make() -> Oxherd:
    found = read_settings()
    herd = Oxherd(**found.arguments)
    if found.emit_on_commit:
        herd.event_class = OnCommitEvent
    herd.server.folder = _project_folder()
    herd.resources.application = APPLICATION
    herd.worker_lifespan(close_idle_connections)
    herd.middleware(close_thread_of_run)
    herd.sync_middleware(clean_connections)
    return herd


def _project_folder() -> Path | None:
    """Where the embedded server is looked for: BASE_DIR, as Django's own template has it, else the current folder."""
    base: object = getattr(settings, "BASE_DIR", None)
    folder = Path(base) if isinstance(base, (str, Path)) else None
    return folder if folder is not None and folder.is_dir() else None
