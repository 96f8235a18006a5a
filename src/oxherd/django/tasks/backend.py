"""The backend: `TASKS = {"default": {"BACKEND": "oxherd.django.TaskBackend", "QUEUES": [...], "OPTIONS": {...}}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.core import checks
from django.utils import timezone

from oxherd.app import Oxherd
from oxherd.context import running_loop
from oxherd.django.project import project_herd
from oxherd.django.tasks.interface import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskResult,
    task_enqueued,
)
from oxherd.django.tasks.message import TaskMessage, check_found
from oxherd.django.tasks.queues import declare_queues
from oxherd.django.tasks.results import TaskEvent, change, enqueued_at, new_result, read_result
from oxherd.django.tasks.task import OxherdTask, check_key_is_used, check_task
from oxherd.emitted import Emitted
from oxherd.errors import UsageError
from oxherd.policy import seconds
from oxherd.producer.emit_options import EmitOptions

# Django's run from -100 to 100, the highest first; BullMQ's from 1, the lowest first, after all that have none.
_FIRST_PRIORITY = 101


class TaskBackend(BaseTaskBackend):
    """Enqueues tasks as events of the project's herd, one event for each of QUEUES.

    Django makes one for each thread; they share their events, which are declared at the first use.
    """

    task_class = OxherdTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        # Django makes a set of QUEUES without a look, and its check comes later.
        self._fault = _fault_of(params)
        super().__init__(alias, params if self._fault is None else {})
        self._events: Mapping[str, TaskEvent] | None = None

    @property
    def events(self) -> Mapping[str, TaskEvent]:
        """The events of its queues, by Django's names of the queues.

        Raises:
            InvalidTaskBackend: QUEUES or OPTIONS cannot be what was meant.
        """
        if self._events is None:
            if self._fault is not None:
                raise InvalidTaskBackend(f"TASKS[{self.alias!r}]: {self._fault}")
            if not self.queues:
                raise InvalidTaskBackend(
                    f"TASKS[{self.alias!r}]: QUEUES is empty; name the queues, since a worker has to know them."
                )
            self._events = declare_queues(self.herd, self.alias, self.options, self.queues)
        return self._events

    def declare(self) -> None:
        """Declare its queues' events, unless they are; raises as `events`."""
        _ = self.events

    @property
    def herd(self) -> Oxherd:
        """The herd on which its queues are declared."""
        return project_herd()

    def validate_task(self, task: Task[..., Any]) -> None:
        """Check that a task can run here; raises Django's InvalidTask."""
        super().validate_task(task)
        check_task(task)
        if isinstance(task, OxherdTask) and task.key is not None:
            check_key_is_used(task, self.events[task.queue_name].declaration)

    def enqueue(self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[..., Any]:
        """Enqueue a task, and return once Redis has acknowledged it.

        Raises:
            InvalidTask: it cannot run here, or a worker would not find it.
            TypeError, ValueError, oxherd.InvalidPayload, oxherd.PayloadTooLarge: its arguments are no JSON, or too
                much of it.
            oxherd.EmitError: Redis did not acknowledge it in time.
            oxherd.UsageError: an event loop runs in this thread.
        """
        _refuse_in_loop("enqueue")
        result, message, options = self._prepared(task, args, kwargs)
        emitted = self.events[task.queue_name].emit_sync(message, **options)
        self._note_enqueued(result, emitted)
        task_enqueued.send(sender=type(self), task_result=result)
        return result

    async def aenqueue(
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[..., Any]:
        """As `enqueue`, in the running event loop."""
        result, message, options = self._prepared(task, args, kwargs)
        emitted = await self.events[task.queue_name].emit(message, **options)
        self._note_enqueued(result, emitted)
        await task_enqueued.asend(sender=type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """The result of a task on any of QUEUES.

        Raises:
            TaskResultDoesNotExist: nothing is stored of it, any more or at all.
            InvalidTask: its function is not here.
            oxherd.RedisUnavailable: Redis did not answer in time.
            oxherd.UsageError: an event loop runs in this thread.
        """
        _refuse_in_loop("get_result")
        return self.herd.run_sync(self.aget_result(result_id))

    async def aget_result(self, result_id: str) -> TaskResult[..., Any]:
        """As `get_result`, in the running event loop."""
        if self.herd.delivery is not None:
            raise UsageError("captured() and inline() keep no results of tasks; use a real server with oxherd_server.")
        return await read_result(self.events, self.alias, result_id)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG002
        """Django's system check: QUEUES and OPTIONS; no I/O."""
        try:
            self.declare()
        except InvalidTaskBackend as error:
            return [checks.Error(str(error), id="oxherd.E101")]
        return []

    def _prepared(
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[TaskResult[..., Any], TaskMessage, EmitOptions]:
        self.validate_task(task)
        check_found(task)
        result = new_result(task, self.alias, args, kwargs)
        own = task if isinstance(task, OxherdTask) else None
        retry = None if own is None else own.retry
        declared = self.events[task.queue_name].declaration.retry
        message = TaskMessage(
            task=task.module_path,
            args=result.args,
            kwargs=result.kwargs,
            backend=self.alias,
            queue=task.queue_name,
            priority=int(task.priority),
            attempts=(declared if retry is None else retry).attempts,
            run_after=task.run_after,
            timeout=None if own is None or own.timeout is None else seconds(own.timeout, "timeout"),
            key=None if own is None or own.key is None else _key(own, args, kwargs),
        )
        options = EmitOptions(priority=_FIRST_PRIORITY - message.priority, retry=retry)
        if task.run_after is not None:
            after = task.run_after
            options["at"] = timezone.make_aware(after) if timezone.is_naive(after) and not settings.USE_TZ else after
        return result, message, options

    def _note_enqueued(self, result: TaskResult[..., Any], emitted: Emitted[Any]) -> None:
        change(result, id=str(emitted.id), enqueued_at=enqueued_at(emitted.id))


def _fault_of(params: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of QUEUES or OPTIONS, if anything is."""
    queues, options = params.get("QUEUES", []), params.get("OPTIONS", {})
    is_list = isinstance(queues, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(each, str) for each in cast("Iterable[object]", queues)):
        return 'QUEUES must be a list of names, such as ["default", "mail"].'
    if not isinstance(options, Mapping):
        return 'OPTIONS must be a dictionary, such as {"CONCURRENCY": 20}.'
    if not isinstance(cast("Mapping[str, object]", options).get("PREFIX", ""), str):
        return "PREFIX in OPTIONS must be a str, with which the names of the queues' events begin."
    return None


def _key(task: OxherdTask, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
    assert task.key is not None  # noqa: S101 - so the caller has seen
    found = task.key(*args, **kwargs)
    if found is None or isinstance(found, str | int | UUID):
        return None if found is None else str(found)
    raise InvalidTask(
        f"{task.module_path}: its key function returned a {type(found).__name__}; let it return a str, int, UUID or "
        "None."
    )


def _refuse_in_loop(method: str) -> None:
    if running_loop() is not None:
        raise UsageError(
            f"{method}() would block the event loop that runs in this thread; await a{method}(...) instead."
        )
