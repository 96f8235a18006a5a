"""Lifecycle signals: the core reports all that happens through them; logs, metrics and traces subscribe.

The core imports no logging and no exporter. An error that a subscriber raises goes to `Signals.on_error` and disturbs
nothing else. A tracer is also asked for spans, since a trace travels with each event and into its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from oxherd.context import Context
from oxherd.lineage import TraceContext


@dataclass(slots=True)
class EventsEmitted:
    """Redis has acknowledged `count` emits of an event. Only sent to those who subscribe to it by name."""

    event: str
    count: int


@dataclass(slots=True)
class EventAttempt:
    """One attempt at an event."""

    event: str
    event_id: str
    attempt: int


@dataclass(slots=True)
class EventBegan(EventAttempt):
    """A handler is about to run. `caused_by` and `root` are UUIDs, set if another event's handler emitted this one."""

    fence: int
    shown: Any  # ShownPayload: what of the payload may be logged
    due_ms: int = 0  # the earliest time it could have begun, in milliseconds since the Unix epoch; 0 if unknown
    caused_by: str | None = None
    root: str | None = None


@dataclass(slots=True)
class EventEnded(EventAttempt):
    """A run has ended, and its outcome is stored in Redis or known to be lost.

    `retry_in_ms`: where the outcome is `retrying`, how long the event waits at least.
    """

    fence: int
    outcome: str
    duration_ms: float
    error: ErrorInfo | None = None
    caused_by: str | None = None
    root: str | None = None
    retry_in_ms: int | None = None


@dataclass(slots=True)
class EventExpired:
    """An event was dropped, since it had not begun when it expired; that was `late_ms` milliseconds before."""

    event: str
    event_id: str
    late_ms: int
    caused_by: str | None = None
    root: str | None = None


@dataclass(slots=True)
class CancelledBeforeBegin(EventAttempt):
    """A fetched event is not run: it was cancelled when it ran elsewhere, or waited for its children."""


@dataclass(slots=True)
class ResultDropped(EventAttempt):
    """A handler's result is not stored, and `why`: it has no JSON, or too much; the event is completed all the same."""

    why: str


@dataclass(slots=True)
class ErrorInfo:
    """An error as it may leave the process: redacted."""

    type: str
    message: str
    stack: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class QueueFault:
    """The queue's own working failed. `source` is as in `queue.error`: emit, fetch, stalled and the like."""

    source: str
    queue: str
    error: ErrorInfo
    event: str | None = None
    event_id: str | None = None
    attempt: int | None = None


@dataclass(slots=True)
class RedisFault:
    """An outage began. `source` is connect, command, cluster or auth."""

    source: str
    node: str
    error: ErrorInfo


@dataclass(slots=True)
class RedisRecovered:
    """An outage ended after `outage_ms` milliseconds."""

    node: str
    outage_ms: float


@dataclass(slots=True)
class EmbeddedServerJoined:
    """The process uses the embedded server of the folder `project`, for the first time."""

    project: str
    url: str


@dataclass(slots=True)
class WorkerStarted:
    """Events are being taken from their queues; not those of `without_handler`, which are declared only."""

    events: list[str]
    server: str
    without_handler: list[str]


@dataclass(slots=True)
class WorkerStopped:
    """Nothing is fetched any more and nothing runs; `ids` and `unresolved` are those of the StopReport."""

    events: list[str]
    ids: dict[str, list[str]]
    unresolved: int


@dataclass(slots=True)
class QueuePaused:
    """A worker has found a queue paused: none of these events begins until it is resumed."""

    events: list[str]
    queue: str


@dataclass(slots=True)
class QueueResumed:
    """A worker has found a queue resumed that was paused before."""

    events: list[str]
    queue: str


@dataclass(slots=True)
class LoopBlocked:
    """The event loop has been blocked for over a second, and still is; sent from the monitor's thread.

    `stack` is where the loop's thread is, `whose` the event whose task runs, if any. With `lock_held`, C code has held
    the interpreter's lock throughout: `stack` was taken when it let go, and the code may have run in another thread.
    """

    blocked_ms: float
    stack: list[str]
    whose: EventAttempt | None = None
    lock_held: bool = False


@dataclass(slots=True)
class LoopUnblocked:
    """The event loop turns again, after `blocked_ms` milliseconds."""

    blocked_ms: float
    whose: EventAttempt | None = None


Signal = (
    EventBegan
    | EventEnded
    | CancelledBeforeBegin
    | EventExpired
    | ResultDropped
    | QueueFault
    | RedisFault
    | RedisRecovered
    | EmbeddedServerJoined
    | WorkerStarted
    | WorkerStopped
    | QueuePaused
    | QueueResumed
    | LoopBlocked
    | LoopUnblocked
)


class SendSpan(Protocol):
    """The span of one send."""

    @property
    def trace(self) -> TraceContext | None:
        """The span's context, which the events carry; None without a trace."""
        ...

    def end(self, failures: Sequence[BaseException]) -> None:
        """End the span: one failure for each event that was not acknowledged."""
        ...


class ProcessSpan(Protocol):
    """The span of one run of a handler."""

    @property
    def trace(self) -> TraceContext | None:
        """The span's context; None without a trace."""
        ...

    def end(self, ended: EventEnded) -> None: ...


class Tracer(Protocol):
    """Follows events from emit to outcome. Neither its methods nor those of its spans raise."""

    def start_send(self, event: str, ids: Sequence[str]) -> SendSpan:
        """Start the span of sending the events with these ids."""
        ...

    def start_process(self, context: Context) -> ProcessSpan:
        """Start the span of a handler's run, and make it current in the caller's contextvars context, which belongs to
        this run alone."""
        ...

    def attach(self, parent: TraceContext | None) -> None:
        """In a handler's own process: make the worker's span current in the caller's contextvars context."""
        ...


class Signals:
    """Passes each signal to its subscribers, in order of subscription; `tracer` makes the spans, if there is one."""

    tracer: Tracer | None = None

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self.on_error = on_error
        kinds = (*get_args(Signal), EventsEmitted)
        self._subscribers: dict[type[Any], list[Callable[[Any], object]]] = {kind: [] for kind in kinds}

    def subscribe(self, subscriber: Callable[[Any], object], *kinds: type[Any]) -> None:
        """Call `subscriber` with signals of these kinds (default: each `Signal`), in the thread that sends them."""
        for kind in kinds or get_args(Signal):
            self._subscribers[kind].append(subscriber)

    def unsubscribe(self, subscriber: Callable[[Any], object]) -> None:
        """Call `subscriber` no more."""
        for subscribers in self._subscribers.values():
            while subscriber in subscribers:
                subscribers.remove(subscriber)

    def emitted(self, event: str, count: int = 1) -> None:
        """Send EventsEmitted, if anybody subscribes to it; never raises."""
        if self._subscribers[EventsEmitted]:
            self.emit(EventsEmitted(event, count))

    def emit(self, signal: Signal | EventsEmitted) -> None:
        """Send a signal; never raises."""
        for subscriber in self._subscribers.get(type(signal), ()):
            try:
                subscriber(signal)
            except Exception as error:  # noqa: BLE001 - a broken exporter must not stop the queue
                self.on_error(error)
