"""Declares the queues of a project's tasks, which a worker has to know without having enqueued one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

# Backends that come with Django, and before Django 6 with the package that has its tasks.
_DJANGOS = ("django.", "django_tasks.")


def declare_task_queues() -> None:
    """Declare the events of each TaskBackend of TASKS; none of one that is wrong, which its check says."""
    aliases = list(_aliases_of_others(getattr(settings, "TASKS", None) or {}))
    if not aliases:
        return
    # Before Django 6 this needs a package that a project without tasks need not have.
    from oxherd.django.tasks.backend import TaskBackend
    from oxherd.django.tasks.interface import task_backends

    for alias, name in aliases:
        kind: Any = import_string(name)
        if isinstance(kind, type) and issubclass(kind, TaskBackend):
            task_backends[alias].check()


def _aliases_of_others(tasks: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for alias, params in tasks.items():
        name = str(params.get("BACKEND", ""))
        if name and not name.startswith(_DJANGOS):
            yield alias, name
