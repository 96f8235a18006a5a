"""The events that a worker processes, and what follows from them for the queues that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from oxherd.declaration import Declaration
from oxherd.handler import Handler
from oxherd.sanitize import Sanitizer
from oxherd.worker.executors import Executor, executor_for
from oxherd.worker.running import Call


@dataclass(slots=True)
class Processed:
    """An event that a worker processes.

    `limiter` keeps to its concurrency: on a shared queue a job may be fetched before it may run, and `waiting` of them
    wait for that.
    """

    declaration: Declaration
    handler: Handler
    sanitizer: Sanitizer[Any]
    executor: Executor = field(init=False)
    call: Call = field(init=False)  # the executor's
    limiter: asyncio.Semaphore = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.limiter = asyncio.Semaphore(self.declaration.concurrency)
        self.executor = executor_for(self.declaration, self.handler)
        self.call = self.executor.call


class Events:
    """Events by name.

    `concurrency` is what they may hold together; `lock_ms` the shortest of their locks, which keeps each one's promise
    to be begun again in time; `max_stalls` the most that any of them allows, `fewer_stalls` what those allow that allow
    less, by name.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Processed] = {}
        self.get = self._by_name.get
        self._derive()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Processed]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """Their names."""
        return list(self._by_name)

    def add(self, processed: Processed) -> None:
        """Process one more."""
        self._by_name[processed.declaration.name] = processed
        self._derive()

    def remove(self, name: str) -> Processed:
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
