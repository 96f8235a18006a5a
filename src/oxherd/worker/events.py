"""The events that a worker processes, and what follows from them for the queues that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from oxherd.declaration import Declaration
from oxherd.handler import Handler
from oxherd.privacy.shown_payload import Sanitizer

if TYPE_CHECKING:
    from oxherd.worker.running.execution import HandlerRun


class Executor(Protocol):
    """Runs one event's handler."""

    def call(self, run: HandlerRun, payload: Any, /) -> Awaitable[Any]:
        """Run the handler; the awaitable's value is its result."""
        ...

    async def close(self) -> None:
        """End what the executor has started."""
        ...


@dataclass(slots=True)
class ProcessedEvent:
    """An event that a worker processes.

    `limiter` keeps to its concurrency: on a shared queue a job may be fetched before it may run, and `waiting` of them
    wait for that.
    """

    declaration: Declaration
    handler: Handler
    sanitizer: Sanitizer[Any]
    executor: Executor
    limiter: asyncio.Semaphore = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.limiter = asyncio.Semaphore(self.declaration.concurrency)


class Events:
    """Events by name.

    `concurrency` is what they may hold together; `lock_ms` the shortest of their locks, which keeps each one's promise
    to be begun again in time; `max_stalls` the most that any of them allows, `fewer_stalls` what those allow that allow
    less, by name.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, ProcessedEvent] = {}
        self.get = self._by_name.get
        self._derive()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[ProcessedEvent]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """Their names."""
        return list(self._by_name)

    def add(self, processed: ProcessedEvent) -> None:
        """Process one more."""
        self._by_name[processed.declaration.name] = processed
        self._derive()

    def remove(self, name: str) -> ProcessedEvent:
        """Process one less."""
        processed = self._by_name.pop(name)
        self._derive()
        return processed

    def _derive(self) -> None:
        declarations = [processed.declaration for processed in self]
        self.concurrency = sum(declaration.concurrency for declaration in declarations)
        self.lock_ms = min((declaration.lock_ms for declaration in declarations), default=30_000)
        self.max_stalls = max((declaration.max_stalls for declaration in declarations), default=1)
        self.fewer_stalls = {
            declaration.name: declaration.max_stalls
            for declaration in declarations
            if declaration.max_stalls < self.max_stalls
        }
