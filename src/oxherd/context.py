"""A handler's Context, and the logging filter that binds log records to its event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakSet

from oxherd.errors import OxherdError, UsageError
from oxherd.lineage import NO_LINEAGE, Lineage, TraceContext
from oxherd.privacy.log_redaction import REPORTING_LOGGERS, redact_record
from oxherd.privacy.redaction import Privacy, Redactor


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler ran for longer than its event's `timeout`, in seconds."""

    timeout: float

    def __str__(self) -> str:
        return f"timed out after {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker's stop timed out; the event is put back on the queue."""

    def __str__(self) -> str:
        return "the worker is stopping"


@dataclass(frozen=True, slots=True)
class LockLost:
    """Another worker has the event's lock; nothing of this run is recorded any more."""

    def __str__(self) -> str:
        return "the event was given to another worker"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The event was cancelled from outside (`Emitted.cancel`), for this `reason`, "" if none was given."""

    reason: str = ""

    def __str__(self) -> str:
        return f"the event was cancelled: {self.reason}" if self.reason else "the event was cancelled"


Reason = TimedOut | Stopping | LockLost | Cancelled

LONGEST_NOTE = 1_000


class Reports(Protocol):
    """Stores what handlers report while they run; `run` is the worker's own."""

    async def progress(self, run: Any, value: Any) -> None: ...
    async def note(self, run: Any, line: str) -> None: ...


class Context:
    """The event that a handler processes.

    Attributes:
        event: the event's name; `event_id` is its UUID, as text.
        attempt: from 1; grows with each attempt that is spent.
        fence: from 1; grows each time the event is begun, for whatever reason, so that a store can refuse an older run.
        cancelled: None, or why the handler must stop: a TimedOut, Stopping, LockLost or Cancelled.
    """

    __slots__ = (
        "_emitted_ms",
        "_loop",
        "_own_redactor",
        "_redactor",
        "_reports",
        "abandoned",
        "attempt",
        "cancelled",
        "event",
        "event_id",
        "fence",
        "lineage",
        "withheld",
    )

    def __init__(
        self,
        *,
        event_id: str,
        event: str,
        attempt: int = 1,
        fence: int = 1,
        emitted_ms: int,
        reports: tuple[Reports, Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        lineage: Lineage = NO_LINEAGE,
    ) -> None:
        self.event_id = event_id
        self.event = event
        self.attempt = attempt
        self.fence = fence
        self.cancelled: Reason | None = None
        self.abandoned = False  # the worker put the event back although its handler goes on
        self.lineage = lineage
        # Set by the worker: the payload's JSON, what of it the log shows (JSON, or nothing), what is private in it.
        self.withheld: tuple[bytes, bytes | None, Privacy] | None = None
        self._redactor: Redactor | None = None
        self._own_redactor: Redactor | None = None
        self._emitted_ms = emitted_ms
        self._reports = reports
        self._loop = loop

    # Built on demand: most handlers ask for none of these.

    @property
    def id(self) -> UUID:
        """The event's UUID."""
        return UUID(self.event_id)

    @property
    def caused_by(self) -> UUID | None:
        """The UUID of the event whose handler emitted this one; None if no handler did."""
        return None if self.lineage.caused_by is None else UUID(self.lineage.caused_by)

    @property
    def root(self) -> UUID:
        """The UUID of the first event in the chain of causes; its own if no event caused it."""
        return UUID(self.lineage.root or self.event_id)

    @property
    def emitted_at(self) -> datetime:
        """When the event was emitted, by the producer's clock, as an aware datetime."""
        return datetime.fromtimestamp(self._emitted_ms / 1000, UTC)

    @property
    def redactor(self) -> Redactor | None:
        """Redacts from errors what the event's log does not show of the payload; None outside a worker."""
        if self._redactor is None and self.withheld is not None:
            raw, shown, privacy = self.withheld
            self._redactor = Redactor(raw, shown, privacy.field_names)
        return self._redactor

    @property
    def own_redactor(self) -> Redactor | None:
        """Redacts what was declared private from what the handler logs itself; None if nothing was."""
        if self.withheld is None:
            return None
        raw, shown, privacy = self.withheld
        if privacy.declared:
            return self.redactor
        if self._own_redactor is None and privacy.sealed is not None:
            self._own_redactor = Redactor(raw, shown, privacy.field_names, privacy.sealed)
        return self._own_redactor

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `oxherd.event.<name>`: its records carry `event`, `event_id` and `attempt`, and `root` if any.

        They are redacted as by a ContextFilter.
        """
        logger = enabled_logger(f"oxherd.event.{self.event}")
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)
        return _BoundLogger(logger, self)  # not cached: the cycle would need the garbage collector

    def propagation_metadata(self, trace: TraceContext | None) -> str:
        """The metadata of an event that the handler emits: in `trace`, else in the trace that this event came with."""
        return Lineage(self.event_id, self.lineage.root or self.event_id, trace or self.lineage.trace).to_json()

    async def progress(self, value: Any) -> None:
        """Store how far the event is, for dashboards and waiting callers; `value` is anything JSON.

        Redis: the job's `progress` field and the queue's event stream (script updateProgress). A plain call of the
        handler, outside a worker, stores nothing.

        Raises:
            UsageError: called in an event loop of the handler's own.
            OxherdError: `value` has no JSON, the server cannot be reached, or the event was put back or given to
                another worker.
        """
        if (found := self._reports_in_loop("progress")) is not None:
            reports, run = found
            await reports.progress(run, value)

    def progress_sync(self, value: Any) -> None:
        """`progress` for a `def` handler in its thread; returns once it is stored.

        Raises:
            UsageError: called in the worker's event loop, which it would block for ever.
            OxherdError: as `progress`.
        """
        self._call_from_thread("progress", self.progress, value)

    async def note(self, text: str) -> None:
        """Add a line to the event's job log, which `herd.admin.show` and Node's boards show; its last 100 are kept.

        At most 1,000 characters of it, redacted as what the handler logs itself. Redis: the job's `logs` (script
        addLog). A plain call of the handler, outside a worker, stores nothing.

        Raises:
            UsageError: called in an event loop of the handler's own, or `text` is no text.
            OxherdError: the server cannot be reached, or the event was put back or given to another worker.
        """
        line = self.note_line(text)
        if (found := self._reports_in_loop("note")) is not None:
            reports, run = found
            await reports.note(run, line)

    def note_sync(self, text: str) -> None:
        """`note` for a `def` handler in its thread; returns once it is stored.

        Raises:
            UsageError: called in the worker's event loop, which it would block for ever, or `text` is no text.
            OxherdError: as `note`.
        """
        # Redacted here, in the handler's own thread.
        self._call_from_thread("note", self.note, self.note_line(text))

    def note_line(self, text: object) -> str:
        """A note as it may be stored; raises UsageError for what is no text."""
        if not isinstance(text, str):
            raise UsageError("ctx.note takes a text, such as an f-string.")
        redactor = self.own_redactor
        line = text if redactor is None else redactor.redact(text)
        # A lone surrogate could not be sent to Redis.
        return line[:LONGEST_NOTE].encode("utf-8", "backslashreplace").decode()[:LONGEST_NOTE]

    def _reports_in_loop(self, what: str) -> tuple[Reports, Any] | None:
        """Where the worker stores what is reported in its event loop; None outside a worker."""
        self._refuse_late(what)
        if self._reports is not None and self._loop is not running_loop():
            raise UsageError(
                f"ctx.{what} belongs to the worker's event loop; in a loop of the handler's own, call "
                f"ctx.{what}_sync(...) instead."
            )
        return self._reports

    def _call_from_thread(self, what: str, report: Callable[[Any], Coroutine[Any, Any, None]], value: Any) -> None:
        self._refuse_late(what)
        if self._reports is not None and self._loop is not None:
            if self._loop is running_loop():
                raise UsageError(f"{what}_sync would block the event loop for ever; await ctx.{what}(...) instead.")
            asyncio.run_coroutine_threadsafe(report(value), self._loop).result()

    def _refuse_late(self, what: str) -> None:
        # Checked in the caller's thread: the loop may have ended since.
        if self.abandoned or (self._loop is not None and not self._loop.is_running()):
            raise OxherdError(f"The {what} is not stored: the event was put back at a stop; end the handler.")


def enabled_logger(name: str = "oxherd") -> logging.Logger:
    """A logger of ours; enabled, since dictConfig and fileConfig disable by default each that they do not name."""
    logger = logging.getLogger(name)
    logger.disabled = False
    return logger


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def absorb_cancellation() -> None:
    """Let the running task go on as if it had not been cancelled."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


class _BoundLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs for one event, from any thread; the logger's filter adds its fields."""

    def __init__(self, logger: logging.Logger, context: Context) -> None:
        super().__init__(logger, bound_fields(context))
        self._context = context

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        # Filters read `current`, which in the application's own threads is unset or another event.
        token = current.set(self._context)
        try:
            super().log(level, msg, *args, **kwargs | {"stacklevel": kwargs.get("stacklevel", 1) + 1})
        finally:
            current.reset(token)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


current: ContextVar[Context | None] = ContextVar("oxherd_context", default=None)


def bound_fields(context: Context) -> dict[str, Any]:
    """The fields on every record made while the event is processed."""
    fields = {"event": context.event, "event_id": context.event_id, "attempt": context.attempt}
    if context.lineage.root is not None:
        fields["root"] = context.lineage.root
    return fields


def propagation_metadata(trace: TraceContext | None = None) -> str:
    """The metadata of an event that is emitted here and now; empty outside handlers and traces."""
    context = current.get()
    if context is not None:
        return context.propagation_metadata(trace)
    return "" if trace is None else Lineage(trace=trace).to_json()


class ContextFilter(logging.Filter):
    """Binds every record made inside a handler to its event, and redacts it; lets every record pass.

    Adds `event`, `event_id` and `attempt`, and `root` if another event caused it; a caller's own field that has the
    name of one of ours, such as `outcome`, becomes `extra_outcome`. Message and extras show nothing of the payload that
    was declared private; tracebacks only what the event's log shows, as text (`exc_text`).

    Add it to a logging handler, not to a logger, whose filters do not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        # oxherd's own records name their event themselves, which a user's `extra` must not pretend to.
        if (record.name == "oxherd" and record.lineno == 0) or (context := current.get()) is None:
            return True
        if record in _bound:
            return True
        strict = context.redactor
        if strict is not None:
            redact_record(record, context.own_redactor, strict)
        fields = record.__dict__
        for name in OWN_FIELDS.intersection(fields) if record.name not in REPORTING_LOGGERS else ():
            fields[extra_name(name, fields)] = fields.pop(name)
        fields.update(bound_fields(context))
        _bound.add(record)
        return True


def extra_name(name: Any, others: Container[str]) -> str:
    """A name that is free in a record for a caller's own field, whose name is not."""
    name = f"extra_{name}"
    while name in others:
        name = f"extra_{name}"
    return name


# What the contract's records carry.
OWN_FIELDS = frozenset({
    "event", "event_id", "attempt", "fence", "payload", "outcome", "duration_ms", "error", "source", "queue", "node",
    "outage_ms", "caused_by", "root", "retry_in_ms",
})  # fmt: skip
# A record passes the filters of several handlers.
_bound: WeakSet[logging.LogRecord] = WeakSet()
_FILTER = ContextFilter()
