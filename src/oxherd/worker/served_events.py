"""The events that a worker serves, and the limits that follow for a queue that they share."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from oxherd.declaration import Declaration
from oxherd.privacy.shown_payload import Sanitizer
from oxherd.worker.limiter import Limiter

if TYPE_CHECKING:
    from oxherd.worker.running.execution import HandlerRun


class Executor(Protocol):
    """Runs one event's handler."""

    def call(self, run: HandlerRun, payload: Any, /) -> Awaitable[Any]:
        """Run the handler; awaiting gives its result."""
        ...

    async def close(self) -> None:
        """End what the executor has started."""
        ...


@dataclass(slots=True)
class ServedEvent:
    """An event with what runs it here.

    Attributes:
        limiter: holds it to its concurrency; on a shared queue, jobs are fetched before they may run.
        waiting: how many jobs wait for the limiter.
    """

    declaration: Declaration
    sanitizer: Sanitizer[Any]
    executor: Executor
    limiter: Limiter = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.declaration.concurrency)


class ServedEvents:
    """The served events of one queue or shard group, by name.

    Attributes:
        concurrency: the sum of theirs.
        lock_ms: their shortest lock, so that each is begun again in time after a worker's death.
        by_key: whether one of them has limits for each key, so that the next job is another script's to find.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, ServedEvent] = {}
        self.get = self._by_name.get
        self._derive()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[ServedEvent]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """The events' names."""
        return list(self._by_name)

    def add(self, event: ServedEvent) -> None:
        """Serve one more event."""
        self._by_name[event.declaration.name] = event
        self._derive()

    def remove(self, name: str) -> ServedEvent:
        """Serve an event no longer; returns it."""
        event = self._by_name.pop(name)
        self._derive()
        return event

    def _derive(self) -> None:
        declarations = [event.declaration for event in self]
        self.concurrency = sum(each.concurrency for each in declarations)
        self.lock_ms = min((each.lock_ms for each in declarations), default=30_000)
        self.by_key = any(each.limits.per_key is not None for each in declarations)
