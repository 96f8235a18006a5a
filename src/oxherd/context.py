"""What a handler is given, and what binds its log lines to the event."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler ran for longer than its event's `timeout`, in seconds."""

    timeout: float

    def __str__(self) -> str:
        return f"timed out after {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker stops and its time is over; the event is put back on the queue."""

    def __str__(self) -> str:
        return "the worker is stopping"


@dataclass(frozen=True, slots=True)
class LockLost:
    """The event was given to another worker; nothing that this handler does is recorded any more."""

    def __str__(self) -> str:
        return "the event was given to another worker"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The handler cancelled itself, or something inside it did."""

    def __str__(self) -> str:
        return "cancelled from inside the handler"


Reason = TimedOut | Stopping | LockLost | Cancelled


class Context:
    """What a handler may know of the event that it processes, and do with it.

    Attributes:
        id: the event's UUID.
        event: the event's name.
        attempt: from 1; grows with each attempt that is spent.
        fence: from 1; grows each time the event is begun, for whatever reason, so that a store can refuse an older run.
        emitted_at: when the event was emitted, as an aware datetime.
        cancelled: None, or why the handler must stop: a TimedOut, Stopping, LockLost or Cancelled.
    """

    __slots__ = ("_log", "_progress", "_progress_sync", "attempt", "cancelled", "emitted_at", "event", "fence", "id")

    def __init__(
        self,
        *,
        id: UUID,  # noqa: A002 - the contract's name
        event: str,
        attempt: int,
        fence: int,
        emitted_at: datetime,
        progress: Callable[[Any], Awaitable[None]] | None = None,
        progress_sync: Callable[[Any], None] | None = None,
    ) -> None:
        self.id = id
        self.event = event
        self.attempt = attempt
        self.fence = fence
        self.emitted_at = emitted_at
        self.cancelled: Reason | None = None
        self._log: logging.LoggerAdapter[logging.Logger] | None = None
        self._progress = progress
        self._progress_sync = progress_sync

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger below `oxherd.event` whose records carry `event`, `event_id` and `attempt`."""
        if self._log is None:
            self._log = _Bound(logging.getLogger(f"oxherd.event.{self.event}"), bound_fields(self))
        return self._log

    async def progress(self, value: Any) -> None:
        """Store how far the event is, for dashboards and for those who wait; `value` is anything JSON.

        Redis: the job's `progress` field and the queue's event stream (script updateProgress). Outside a worker (a
        plain call in a unit test) nothing is stored.

        Raises:
            OxherdError: `value` cannot be written as JSON, or the server cannot be reached.
        """
        if self._progress is not None:
            await self._progress(value)

    def progress_sync(self, value: Any) -> None:
        """`progress` for a `def` handler in its thread; returns once it is stored."""
        if self._progress_sync is not None:
            self._progress_sync(value)


class _Bound(logging.LoggerAdapter[logging.Logger]):
    """Adds the event's fields to each record, beside what the caller passes as `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


current: ContextVar[Context | None] = ContextVar("oxherd_context", default=None)


def bound_fields(context: Context) -> dict[str, Any]:
    """The fields that every record made while an event is processed carries."""
    return {"event": context.event, "event_id": str(context.id), "attempt": context.attempt}


class ContextFilter(logging.Filter):
    """Adds `event`, `event_id` and `attempt` to every record made inside a handler; lets every record pass.

    Add it to a logging handler, not to a logger: a logger's filters do not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = current.get()
        if context is not None and not hasattr(record, "event_id"):
            record.__dict__.update(bound_fields(context))
        return True
