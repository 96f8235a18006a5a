"""oxherd in a Django project: put `"oxherd.django"` into INSTALLED_APPS. Needs `oxherd[django]`.

`from oxherd.django import herd` is the project's herd, made from `settings.OXHERD` on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from oxherd.errors import ConfigError

if find_spec("django") is None:
    raise ConfigError("Django is not installed; install oxherd[django].")

if TYPE_CHECKING:
    from oxherd.app import Oxherd
    from oxherd.django.on_commit import emit_many_on_commit, emit_on_commit
    from oxherd.django.tasks.backend import TaskBackend

    herd: Oxherd

# Where each name is: on first use, since Django imports this package before its models may be.
_MODULES = {
    "TaskBackend": "tasks.backend",
    "emit_many_on_commit": "on_commit",
    "emit_on_commit": "on_commit",
}

__all__ = ["TaskBackend", "emit_many_on_commit", "emit_on_commit", "herd"]


def __getattr__(name: str) -> Any:
    if name == "herd":
        return import_module("oxherd.django.project").project_herd()
    if name in _MODULES:
        return getattr(import_module(f"oxherd.django.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
