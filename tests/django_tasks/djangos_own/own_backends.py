"""Our backend with what Django's own tests ask of the backends that they are about, beside the interface."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from oxherd import EventFailed
from oxherd.django import TaskBackend

DEADLINE = 30
enqueued: dict[str, list[str]] = {}


class DummyBackend(TaskBackend):
    """Knows what was enqueued, and reads it from Redis; nothing runs."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return self._noted(super().enqueue(task, args, kwargs))

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return self._noted(await super().aenqueue(task, args, kwargs))

    def _noted(self, result: Any) -> Any:
        enqueued.setdefault(self.alias, []).append(result.id)
        return result

    def clear(self) -> None:
        enqueued.pop(self.alias, None)

    @property
    def results(self) -> Any:
        return _Results(self)


class _Results:
    """Equal to the results as they are read; from any thread, since a test may have an event loop in its own."""

    def __init__(self, backend: TaskBackend) -> None:
        self._backend = backend

    def _read(self) -> list[Any]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as thread:
            return list(thread.map(self._backend.get_result, enqueued.get(self._backend.alias, [])))

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, result: object) -> bool:
        return result in self._read()

    __hash__ = None  # type: ignore[assignment]


class ImmediateBackend(TaskBackend):
    """Returns once a worker, in this process, has run the task, as Django's immediate one does."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        event, herd = self.events[task.queue_name], self.herd
        if event.name not in herd.run_sync(_processing(herd)):
            herd.run_sync(event.start())
        # Else the worker may say that it began before this says that it was enqueued.
        herd.run_sync(event.pause())
        try:
            result = super().enqueue(task, args, kwargs)
        finally:
            herd.run_sync(event.resume())
        with suppress(EventFailed):
            event.emitted(UUID(result.id)).result_sync(timeout=DEADLINE)
        result.refresh()
        return result

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        from asgiref.sync import sync_to_async

        return await sync_to_async(self.enqueue, thread_sensitive=False)(task, args, kwargs)


async def _processing(herd: Any) -> list[str]:
    return herd.processing
