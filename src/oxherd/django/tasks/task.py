"""The backend's own kind of task: `@task(retry=..., timeout=..., key=...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from oxherd.declaration import Declaration
from oxherd.django.tasks.interface import InvalidTask, Task
from oxherd.errors import UsageError
from oxherd.policy import Retry, Seconds, seconds
from oxherd.producer.emit_options import stored_retry

if TYPE_CHECKING:
    AnyTask = Task[..., Any]
else:
    AnyTask = Task  # generic for type checkers only


@dataclass(frozen=True, slots=True, kw_only=True)
class OxherdTask(AnyTask):
    """A task with a retry, a timeout and a key of its own.

    Attributes:
        retry: how often it is attempted, and the delays in between; None: as RETRY of the backend's OPTIONS says.
        timeout: seconds (or a timedelta) that one run of an `async def` may take; None: as TIMEOUT says.
        key: a function of the task's arguments that returns a str, an int, a UUID or None: what PER_KEY and SHARDS of
            the backend's OPTIONS go by.
    """

    retry: Retry | None = None
    timeout: Seconds | None = None
    key: Callable[..., object] | None = None

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | None = None,
        backend: str | None = None,
        retry: Retry | None = None,
        timeout: Seconds | None = None,
        key: Callable[..., object] | None = None,
    ) -> OxherdTask:
        """The task with other values, also before Django 6.1, whose `@task` does not take them."""
        given = {
            "priority": priority, "queue_name": queue_name, "run_after": run_after, "backend": backend, "retry": retry,
            "timeout": timeout, "key": key,
        }  # fmt: skip
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changes)


def check_task(task: Task[..., Any]) -> None:
    """Check what a task has beside Django's own.

    Raises:
        InvalidTask: its retry, timeout or key cannot be what was meant.
    """
    if not isinstance(task, OxherdTask):
        return
    try:
        if task.retry is not None:
            stored_retry(task.retry, task.module_path)
        if task.timeout is not None:
            seconds(task.timeout, f"{task.module_path}: timeout", least=0.001)
    except UsageError as error:
        raise InvalidTask(f"{str(error).rstrip('.')}.") from None
    if task.timeout is not None and not inspect.iscoroutinefunction(task.func):
        raise InvalidTask(
            f"{task.module_path}: timeout ends an async def; this def runs in a thread, which nothing can end: leave "
            "it out, or give what blocks in it a timeout."
        )
    if task.key is not None and (not callable(task.key) or inspect.iscoroutinefunction(task.key)):
        raise InvalidTask(f"{task.module_path}: key must be a plain function of the task's arguments.")


def check_key_is_used(task: OxherdTask, declaration: Declaration) -> None:
    """Raises InvalidTask if nothing of its queue goes by the key of a task."""
    if declaration.shards == 1 and declaration.limits.per_key is None:
        raise InvalidTask(
            f"{task.module_path}: nothing of the queue {task.queue_name!r} goes by a key; give its backend PER_KEY or "
            "SHARDS in OPTIONS, or leave key out."
        )
