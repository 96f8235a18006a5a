"""What is stored of an enqueued task, and how its function is found again."""

from __future__ import annotations

import pkgutil
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from oxherd.django.tasks.interface import InvalidTask, Task

_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """The payload of a queue's event; of its fields the log shows `task`, the path of the function.

    Attributes:
        backend, queue: the alias of the backend that it was enqueued with, and Django's name of the queue.
        attempts: how often it may be attempted, as its job says too.
        timeout: seconds that a coroutine may take; None: as its queue's event says.
        key: what the limits of its key go by, and which shard it is on.
    """

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    backend: str
    queue: str
    priority: int
    attempts: int
    run_after: datetime | None = None
    timeout: float | None = None
    key: str | None = None

    def as_enqueued(self) -> Task[..., Any]:
        """The task as it was enqueued.

        Raises:
            InvalidTask: there is no such task here.
        """
        task = find_task(self.task)
        given: dict[str, Any] = {
            "backend": self.backend,
            "queue_name": self.queue,
            "priority": self.priority,
            "run_after": self.run_after,
        }
        changed = {name: value for name, value in given.items() if getattr(task, name) != value}
        return replace(task, **changed) if changed else task


def key_of(message: TaskMessage) -> str | None:
    """The key of a message, for its event's declaration."""
    return message.key


def find_task(path: str) -> Task[..., Any]:
    """Import a task by the path of its function.

    Raises:
        InvalidTask: nothing is there, or it is no task: whoever can write to Redis must not choose what is called.
    """
    try:
        found: Any = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidTask(f"There is no task {path[:_LONGEST_PATH]!r} here; deploy it, or enqueue it anew.") from error
    task = cast("Task[..., Any]", found) if isinstance(found, Task) else None
    if task is None or task.module_path != path:
        raise InvalidTask(f"{path[:_LONGEST_PATH]!r} is no task; decorate it with @task, and enqueue it anew.")
    return task


def check_found(task: Task[..., Any]) -> None:
    """Raises InvalidTask if a worker would not find a task by its path."""
    function: Any = task.func
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if function.__module__ == "__main__" or not isinstance(found, Task) or found.func is not function:
        raise InvalidTask(
            f"A worker would not find the task {task.module_path!r}: define it at the top of an app's module, and "
            "decorate the function there with @task."
        )
