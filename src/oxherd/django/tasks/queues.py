"""The queues of a backend: each is an event of the project's herd, declared once in a process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

from oxherd.app import Oxherd
from oxherd.django.tasks.interface import InvalidTaskBackend
from oxherd.django.tasks.message import TaskMessage, key_of
from oxherd.django.tasks.options import event_name, event_options
from oxherd.django.tasks.running import run_task
from oxherd.errors import DeclarationError
from oxherd.event import Event
from oxherd.privacy.allow import Allow

# Django makes a backend for each thread, and anew when the settings change.
_declared: weakref.WeakKeyDictionary[Oxherd, dict[str, dict[str, Any]]] = weakref.WeakKeyDictionary()
_declaring = threading.Lock()


def declare_queues(
    herd: Oxherd, alias: str, options: Mapping[str, Any], queues: set[str]
) -> dict[str, Event[TaskMessage, Any]]:
    """The events of a backend's queues, by the queues' names; declared unless they are.

    Raises:
        InvalidTaskBackend: an option or a queue's name is invalid, or has changed since.
    """
    return {queue: _declare(herd, alias, options, queues, queue) for queue in sorted(queues)}


def _declare(
    herd: Oxherd, alias: str, options: Mapping[str, Any], queues: set[str], queue: str
) -> Event[TaskMessage, Any]:
    name, given = event_name(alias, options, queue), event_options(alias, options, queues, queue)
    with _declaring:
        declared = _declared.setdefault(herd, {})
        if name not in declared:
            _declare_anew(herd, alias, name, given)
            declared[name] = given
        elif declared[name] != given:
            raise InvalidTaskBackend(
                f"TASKS[{alias!r}]: the options of the queue {queue!r} have changed since its event {name} was "
                "declared, and hold for the life of a process; start a new one."
            )
    return herd[name]


def _declare_anew(herd: Oxherd, alias: str, name: str, given: dict[str, Any]) -> None:
    if given.get("per_key") is not None or given.get("shards", 1) != 1:
        given = {**given, "key": key_of}
    try:
        event = herd.declare(name, TaskMessage, sanitize=Allow("task"), **given)
        event.process(run_task)
    except DeclarationError as error:
        raise InvalidTaskBackend(f"TASKS[{alias!r}]: {str(error).rstrip('.')}.") from error
