"""What a handler is given, and what binds its log lines to the event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from weakref import WeakSet

from oxherd.errors import OxherdError
from oxherd.lineage import NO_LINEAGE, Lineage, TraceContext
from oxherd.privacy.log_redaction import redact_record
from oxherd.privacy.redaction import Redactor


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
        id: the event's UUID; `text` is the same as text.
        event: the event's name.
        attempt: from 1; grows with each attempt that is spent.
        fence: from 1; grows each time the event is begun, for whatever reason, so that a store can refuse an older run.
        caused_by: the UUID of the event whose handler emitted this one; None where none did.
        root: the UUID of the first event of that story: this one's own where no event caused it.
        emitted_at: when the event was emitted, as an aware datetime.
        cancelled: None, or why the handler must stop: a TimedOut, Stopping, LockLost or Cancelled.
    """

    __slots__ = (
        "_emitted_ms",
        "_loop",
        "_redactor",
        "_report",
        "abandoned",
        "attempt",
        "cancelled",
        "event",
        "fence",
        "lineage",
        "text",
        "withheld",
    )

    def __init__(
        self,
        *,
        text: str,
        event: str,
        attempt: int = 1,
        fence: int = 1,
        emitted_ms: int,
        report: Callable[[Any], Awaitable[None]] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        lineage: Lineage = NO_LINEAGE,
    ) -> None:
        self.text = text
        self.event = event
        self.attempt = attempt
        self.fence = fence
        self.cancelled: Reason | None = None
        self.abandoned = False  # set by the worker where the event was put back although its handler goes on
        self.lineage = lineage
        # The payload's JSON, what of it the log shows, and its type's names: set by the worker, as soon as it knows.
        self.withheld: tuple[bytes, bytes | None, frozenset[str]] | None = None
        self._redactor: Redactor | None = None
        self._emitted_ms = emitted_ms
        self._report = report
        self._loop = loop

    # These are made when they are asked for: most handlers do not.

    @property
    def id(self) -> UUID:
        """The event's UUID."""
        return UUID(self.text)

    @property
    def caused_by(self) -> UUID | None:
        """The UUID of the event whose handler emitted this one; None where none did."""
        return None if self.lineage.caused_by is None else UUID(self.lineage.caused_by)

    @property
    def root(self) -> UUID:
        """The UUID of the first event of the story that this one belongs to; its own where no event caused it."""
        return UUID(self.lineage.root or self.text)

    @property
    def emitted_at(self) -> datetime:
        """When the event was emitted, by the producer's clock."""
        return datetime.fromtimestamp(self._emitted_ms / 1000, UTC)

    @property
    def redactor(self) -> Redactor | None:
        """What takes out of a text what the event's log does not show; None outside a worker."""
        if self._redactor is None and self.withheld is not None:
            self._redactor = Redactor(*self.withheld)
        return self._redactor

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger below `oxherd.event` whose records carry `event`, `event_id` and `attempt`, and `root` if any.

        Of the payload they show what the event's log shows, like all that a ContextFilter sees.
        """
        logger = logging.getLogger(f"oxherd.event.{self.event}")
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)
        return _Bound(logger, self)  # not kept: it knows this context, and both would wait for the garbage collector

    def propagation_metadata(self, trace: TraceContext | None) -> str:
        """The metadata of an event that the handler emits, in `trace` or else in this event's own."""
        return Lineage(self.text, self.lineage.root or self.text, trace or self.lineage.trace).to_json()

    async def progress(self, value: Any) -> None:
        """Store how far the event is, for dashboards and for those who wait; `value` is anything JSON.

        Redis: the job's `progress` field and the queue's event stream (script updateProgress). Outside a worker (a
        plain call in a unit test) nothing is stored.

        Raises:
            OxherdError: `value` cannot be written as JSON, the server cannot be reached, or the event was given to
                another worker, whose progress counts, or put back for one.
        """
        self._refuse_late_progress()
        if self._report is not None:
            await self._report(value)

    def progress_sync(self, value: Any) -> None:
        """`progress` for a `def` handler in its thread; returns once it is stored."""
        self._refuse_late_progress()
        if self._report is not None and self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._stored(value), self._loop).result()

    async def _stored(self, value: Any) -> None:
        await self.progress(value)

    def _refuse_late_progress(self) -> None:
        # Here and not in the loop, which may have ended since.
        if self.abandoned:
            raise OxherdError("The progress is not stored: the event was put back at a stop; end the handler.")


class _Bound(logging.LoggerAdapter[logging.Logger]):
    """Makes records of one event, in whatever thread it is used: with its fields beside the caller's `extra`."""

    def __init__(self, logger: logging.Logger, context: Context) -> None:
        super().__init__(logger, bound_fields(context))
        self._context = context

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        # A thread of the application's may know no event, or another one; filters ask for it.
        token = current.set(self._context)
        try:
            super().log(level, msg, *args, **kwargs | {"stacklevel": kwargs.get("stacklevel", 1) + 1})
        finally:
            current.reset(token)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


current: ContextVar[Context | None] = ContextVar("oxherd_context", default=None)


def bound_fields(context: Context) -> dict[str, Any]:
    """The fields that every record made while an event is processed carries."""
    fields = {"event": context.event, "event_id": context.text, "attempt": context.attempt}
    if context.lineage.root is not None:
        fields["root"] = context.lineage.root
    return fields


def propagation_metadata(trace: TraceContext | None = None) -> str:
    """The metadata of an event that is emitted here and now; "" outside handlers and traces."""
    context = current.get()
    if context is not None:
        return context.propagation_metadata(trace)
    return "" if trace is None else Lineage(trace=trace).to_json()


class ContextFilter(logging.Filter):
    """Adds `event`, `event_id` and `attempt` to every record made inside a handler, and `root` where another event
    caused it, and redacts from it what the event's log does not show; lets every record pass.

    Message, extras and tracebacks are redacted; a traceback becomes text (`exc_text`).

    Add it to a logging handler, not to a logger: a logger's filters do not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        # Our own records say themselves whose they are; a user's `extra` must not.
        if (record.name == "oxherd" and record.lineno == 0) or (context := current.get()) is None:
            return True
        redactor = context.redactor
        if redactor is not None and record not in _redacted:
            redact_record(record, redactor)
            _redacted.add(record)
        record.__dict__.update(bound_fields(context))
        return True


# A record passes the filters of several handlers.
_redacted: WeakSet[logging.LogRecord] = WeakSet()
_FILTER = ContextFilter()
