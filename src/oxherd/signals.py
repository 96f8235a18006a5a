"""Lifecycle signals: all that the core says of itself; logs, metrics and traces subscribe to them.

The core imports no logging and no exporter. A subscriber that raises does not disturb the work: the error goes to
`Signals.on_error`. A tracer has to be asked, too, since a trace goes along with each event and into its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from oxherd.context import Context
from oxherd.lineage import TraceContext


@dataclass(slots=True)
class EventsEmitted:
    """So many emits of an event were acknowledged together."""

    event: str
    count: int


@dataclass(slots=True)
class EventBegan:
    """A handler is about to run. `caused_by` and `root` are UUIDs, where another event's handler emitted this one."""

    event: str
    event_id: str
    attempt: int
    fence: int
    shown: Any  # ShownPayload: what of the payload may be logged
    due_ms: int = 0  # when it could have begun first, in milliseconds since the Unix epoch
    caused_by: str | None = None
    root: str | None = None


@dataclass(slots=True)
class EventEnded:
    """Redis has confirmed what became of an event that began, or it is known that it cannot."""

    event: str
    event_id: str
    attempt: int
    fence: int
    outcome: str
    duration_ms: float
    error: ErrorInfo | None = None
    caused_by: str | None = None
    root: str | None = None


@dataclass(slots=True)
class ErrorInfo:
    """An error as it may leave the process: scrubbed of what is withheld."""

    type: str
    message: str
    stack: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class QueueFault:
    """The queue's own working failed. `source` is one of the contract's: emit, fetch, finish, lock, stalled, data,
    sanitize or schedule."""

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
    """An outage ended; `outage_ms` is how long it lasted, in milliseconds."""

    node: str
    outage_ms: float


@dataclass(slots=True)
class WorkerStarted:
    """Events are being taken from their queues."""

    events: list[str]
    server: str


@dataclass(slots=True)
class WorkerStopped:
    """No event is taken any more and none runs; the ids are of events, by what became of them at the stop.

    `cancelled` ones were told to stop, and the handlers of `stuck` ones could not be ended: both are among the others
    as well. `unresolved` is how many calls to Redis have an unknown result.
    """

    events: list[str]
    drained: list[str]
    requeued: list[str]
    cancelled: list[str]
    stranded: list[str]
    stuck: list[str]
    unresolved: int


@dataclass(frozen=True, slots=True)
class EventAttempt:
    """One attempt at an event."""

    event: str
    event_id: str
    attempt: int


@dataclass(slots=True)
class LoopBlocked:
    """The event loop has not turned for more than a second, and still does not; sent from a thread of its own.

    `stack` is where the loop's thread is, `whose` the event in whose task, where it is one's. `lock_held`: C code has
    held the interpreter's lock all the time. Nothing could be seen before it let go, so that `stack` is where the loop
    was then; the code may also be another thread's.
    """

    blocked_ms: float
    stack: list[str]
    whose: EventAttempt | None = None
    lock_held: bool = False


@dataclass(slots=True)
class LoopUnblocked:
    """The event loop turns again; `blocked_ms` is how long it did not, in milliseconds."""

    blocked_ms: float
    whose: EventAttempt | None = None


Signal = (
    EventBegan
    | EventEnded
    | QueueFault
    | RedisFault
    | RedisRecovered
    | WorkerStarted
    | WorkerStopped
    | LoopBlocked
    | LoopUnblocked
)


class Sending(Protocol):
    """Events on their way to their queue; `trace` is what they carry, None where they are in none."""

    @property
    def trace(self) -> TraceContext | None: ...
    def end(self, failures: Sequence[BaseException]) -> None:
        """They were acknowledged, but for one for each of the failures."""
        ...


class Handling(Protocol):
    """One run of a handler; `trace` is its own place in the event's trace, None where it has none."""

    @property
    def trace(self) -> TraceContext | None: ...
    def ended(self, ended: EventEnded) -> None: ...


class Tracer(Protocol):
    """Follows events from emit to outcome; no method of it, nor of what they return, raises."""

    def sending(self, event: str, ids: Sequence[str]) -> Sending:
        """Events of those ids are about to be sent."""
        ...

    def handling(self, context: Context) -> Handling:
        """The handler is about to run: what is done in the present context of contextvars, which ends with the event,
        belongs to the handler's span."""
        ...

    def resume(self, sender: TraceContext | None) -> None:
        """In a process of the handler's own: what is done in the present context belongs to the worker's span."""
        ...


class Signals:
    """Hands each signal to each subscriber, in order; `tracer` is asked as its protocol says, if there is one."""

    tracer: Tracer | None = None

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self.on_error = on_error
        self._subscribers: dict[type[Any], list[Callable[[Any], object]]] = {kind: [] for kind in get_args(Signal)}
        self._emit_subscribers: list[Callable[[EventsEmitted], None]] = []

    def subscribe(self, subscriber: Callable[[Any], object], *kinds: type[Any]) -> None:
        """Call `subscriber` with every signal, or with those of `kinds` alone, in the thread that sends it."""
        for kind in kinds or self._subscribers:
            self._subscribers[kind].append(subscriber)

    def subscribe_to_emits(self, subscriber: Callable[[EventsEmitted], None]) -> None:
        """Call `subscriber` also with what is emitted, from now on, in the thread that emits; few want to know."""
        self._emit_subscribers.append(subscriber)

    def emitted(self, event: str, count: int = 1) -> None:
        """Say that emits were acknowledged, where somebody wants to know; never raises."""
        for subscriber in self._emit_subscribers:
            try:
                subscriber(EventsEmitted(event, count))
            except Exception as error:  # noqa: BLE001 - as in `emit`
                self.on_error(error)

    def emit(self, signal: Signal) -> None:
        """Send a signal; never raises."""
        for subscriber in self._subscribers.get(type(signal), ()):
            try:
                subscriber(signal)
            except Exception as error:  # noqa: BLE001 - a broken exporter must not stop the queue
                self.on_error(error)
