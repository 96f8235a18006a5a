"""oxherd in Django."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oxherd.app import Oxherd

if TYPE_CHECKING:
    from oxherd.django.tasks.backend import TaskBackend

    herd: Oxherd

__all__ = ["TaskBackend", "herd"]


def __getattr__(name: str) -> Any:
    if name == "TaskBackend":
        return import_module("oxherd.django.tasks.backend").TaskBackend
    if name == "herd":
        from django.conf import settings

        given = getattr(settings, "OXHERD", {})
        globals()["herd"] = Oxherd(given.get("URL"), prefix=given.get("PREFIX", "bull"))
        return globals()["herd"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
