"""What one request reads for its page, and how old the oldest of it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from oxherd.admin import Admin, EventRow, HistoryRow
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.dashboard.last_known import LastKnown
from oxherd.dashboard.time_ranges import TimeRange

if TYPE_CHECKING:
    from oxherd.app import Oxherd

T = TypeVar("T")

# A page is read anew at most this often, however many look at it.
FRESH_SECONDS = 1.0


class Reading:
    """Reads for one request, through what is known already.

    Attributes:
        problem: why what is shown is older than it should be; None while Redis answers.
        as_of: when that was read.
    """

    def __init__(self, herd: Oxherd, known: LastKnown) -> None:
        self.herd = herd
        self.admin: Admin = herd.admin
        self.problem: str | None = None
        self.as_of: datetime | None = None
        self._known = known

    async def __call__(self, key: str, load: Callable[[], Awaitable[T]], *, fresh: float = FRESH_SECONDS) -> T:
        """What `load` returns, under a key that says what it is; raises NotKnown, and what `load` raises."""
        known = await self._known.read(key, load, fresh=fresh)
        if known.problem is not None and (self.as_of is None or known.at < self.as_of):
            self.problem, self.as_of = known.problem, known.at
        return known.value

    def soon(self, key: str, load: Callable[[], Awaitable[T]], *, fresh: float) -> T | None:
        """As a call, for what takes long: what is known already, None if nothing is."""
        known = self._known.soon(key, load, fresh=fresh)
        return None if known is None else known.value

    async def events(self) -> list[EventRow]:
        """The rows of all events."""
        return await self("events", self.admin.events)

    async def event(self, name: str) -> EventRow:
        """The row of an event; raises UnknownEvent."""
        name = self.herd[name].name
        return next(row for row in await self.events() if row.name == name)

    async def workers(self) -> list[WorkerInfo]:
        """The live workers."""
        return await self("workers", self.admin.workers)

    async def history(self, event: str, time_range: TimeRange) -> list[HistoryRow]:
        """The figures of an event in a range of time, a row a column of a chart."""

        async def load() -> list[HistoryRow]:
            rows = await self.admin.history(event, since=time_range.length, step=time_range.step)
            return time_range.columns(rows)

        return await self(f"history {time_range.name} {event}", load, fresh=time_range.fresh)
