"""What pages show: read once for all who look at the same, and kept through an outage."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from oxherd.errors import OxherdError, RedisUnavailable

T = TypeVar("T")

# How long a page waits for what has been read before; within an outage it does not.
_PATIENCE_SECONDS = 1.5
_FIRST_PATIENCE_SECONDS = 5.0
_NEVER = float("-inf")
_MOST_ENTRIES = 500


class NotKnown(OxherdError):
    """Redis does not answer, and what is asked for was not read before."""


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value, when it was read, and, where it could not be read again, why."""

    value: T
    at: datetime
    problem: str | None = None


@dataclass(slots=True)
class _Entry:
    known: Known[Any] | None = None
    read_at: float = _NEVER
    failed: RedisUnavailable | None = None
    task: asyncio.Task[Any] | None = None


class LastKnown:
    """The last values by their keys, the least used dropped first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def read(self, key: str, load: Callable[[], Awaitable[T]], *, fresh: float) -> Known[T]:
        """What `load` returns, not older than `fresh` seconds; in an outage, what it returned last.

        Raises:
            NotKnown: it could not be read, now or before.
        """
        entry = self._entry(key)
        if entry.known is not None and not self._is_stale(entry, fresh):
            return entry.known
        task = self._reading(entry, load)
        if entry.known is None or entry.failed is None:
            patience = _FIRST_PATIENCE_SECONDS if entry.known is None else _PATIENCE_SECONDS
            done, _ = await asyncio.wait((task,), timeout=patience)
            if done and entry.failed is None:
                task.result()  # an error of ours, such as an event that there is not
        return self._answer(entry)

    def soon(self, key: str, load: Callable[[], Awaitable[T]], *, fresh: float) -> Known[T] | None:
        """As `read`, without waiting: what is known already, or None, while it is read for the next time."""
        entry = self._entry(key)
        if self._is_stale(entry, fresh):
            self._reading(entry, load)
        return entry.known

    def expire(self) -> None:
        """Have everything read anew before it is shown: something was changed, maybe while it was being read."""
        for entry in self._entries.values():
            entry.read_at = _NEVER
            entry.task = None

    @staticmethod
    def _is_stale(entry: _Entry, fresh: float) -> bool:
        return entry.known is None or entry.failed is not None or time.monotonic() - entry.read_at > fresh

    @staticmethod
    def _answer(entry: _Entry) -> Known[Any]:
        problem = None if entry.failed is None else str(entry.failed)
        if entry.known is None:
            raise NotKnown(problem or "Redis has not answered yet; this page asks again by itself.")
        if problem is None and entry.task is not None:
            problem = "Redis has not answered yet."
        return Known(entry.known.value, entry.known.at, problem)

    def _entry(self, key: str) -> _Entry:
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        if len(self._entries) > _MOST_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    def _reading(self, entry: _Entry, load: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        task = entry.task
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = entry.task = asyncio.ensure_future(_awaited(load))
            task.add_done_callback(lambda done: self._ended(entry, done))
        return task

    @staticmethod
    def _ended(entry: _Entry, task: asyncio.Task[Any]) -> None:
        is_current = entry.task is task
        if is_current:
            entry.task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if is_current or entry.known is None:
                entry.known = Known(task.result(), datetime.now(UTC))
                entry.read_at = time.monotonic() if is_current else _NEVER
                entry.failed = None
        elif isinstance(error, RedisUnavailable):
            entry.failed = error
        # Any other error is that of whoever waits for the task; the next one reads anew.


async def _awaited(load: Callable[[], Awaitable[T]]) -> T:
    return await load()
