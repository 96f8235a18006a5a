"""A bulk operation: batches that can be watched, stopped and gone on with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from oxherd.admin.moments import moment
from oxherd.admin.rows import Progress, Summary
from oxherd.admin.target import Herd

_MOST_PROBLEMS = 10


class Operation(ABC):
    """Acts batch by batch while it is iterated, and yields its Progress after each.

    Iterated again after it was stopped, or after an error such as RedisUnavailable, it goes on where it was.
    """

    def __init__(self, herd: Herd, action: str) -> None:
        self._herd = herd
        self._action = action
        self._done = 0
        self._skipped = 0
        self._total: int | None = None
        self._began_ms = 0
        self._began = False
        self._complete = False
        self._stopped = False
        self._problems: dict[str, None] = {}

    @property
    def summary(self) -> Summary:
        """What it has done so far."""
        began: datetime | None = moment(self._began_ms)
        counts = (self._done, self._skipped, self._total)
        return Summary(self._action, *counts, self._complete, tuple(self._problems), began)

    def stop(self) -> None:
        """End after the batch that is under way; from any thread, or a signal handler."""
        self._stopped = True

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Act, a batch at a time."""
        self._stopped = False
        if not self._began:
            await self._begin()
            self._began = True
        while not self._complete and not self._stopped:
            self._complete = not await self._act_on_batch()
            yield Progress(self._done, self._skipped, self._total)

    def __iter__(self) -> Iterator[Progress]:
        """Act, from code without an event loop."""
        steps = aiter(self)

        async def following() -> Progress | None:
            return await anext(steps, None)

        while (progress := self._herd.run_sync(following())) is not None:
            yield progress

    async def run(self) -> Summary:
        """Act until the end, or until `stop`."""
        async for _ in self:
            pass
        return self.summary

    def run_sync(self) -> Summary:
        """`run` from code without an event loop."""
        return self._herd.run_sync(self.run())

    async def count(self) -> int | None:
        """How many are selected now; None where only a search could say. A command a queue."""
        return await self._count()

    def count_sync(self) -> int | None:
        """`count` from code without an event loop."""
        return self._herd.run_sync(self.count())

    def _problem(self, sentence: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems[sentence] = None

    @abstractmethod
    async def _count(self) -> int | None: ...

    @abstractmethod
    async def _begin(self) -> None: ...

    @abstractmethod
    async def _act_on_batch(self) -> bool:
        """Act on the next batch; returns whether there may be another."""
