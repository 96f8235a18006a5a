"""The herd: declares events, opens and closes connections, starts and stops processing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from types import UnionType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from oxherd.bullmq.keys import has_hash_tag
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.bullmq.worker_records import live_workers
from oxherd.context import enabled_logger
from oxherd.declaration import Declaration, DeclareOptions, EventOptions, check_options, check_result, declare, is_name
from oxherd.errors import DeclarationError, RedisUnavailable, UnknownEvent, did_you_mean
from oxherd.event import Decorator, Event
from oxherd.handler import DeclaredHandler, caller_scope, inspect_handler
from oxherd.loop_session import LoopSession
from oxherd.policy import Seconds, boolean, seconds, text, version_text
from oxherd.processing import Processing
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.server_locator import ServerLocator
from oxherd.redis.outage import Outages
from oxherd.redis.url import RedisURL
from oxherd.resources.declared import Resources
from oxherd.sessions import Sessions
from oxherd.signals import Signals
from oxherd.telemetry.logs.subscriber import LogSubscriber
from oxherd.worker.upkeep.watchdog import WatchdogTimes
from oxherd.worker.worker import Worker

if TYPE_CHECKING:
    from oxherd.admin import Admin

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class Oxherd(Processing):
    """Events, and the server they live on. Connects and reads the environment on first use only.

    Attributes:
        event_class: what its events are, for a framework that emits in another way.

    Args:
        url: the server's URL; None: `$OXHERD_URL`, else an embedded Valkey for the project directory.
        embedded: False refuses the embedded Valkey, as $OXHERD_EMBEDDED=never does.
        prefix: BullMQ's key prefix.
        emit_timeout: seconds (or a timedelta) that an emit may take.
        stop_timeout: seconds (or a timedelta) that a stop lets running events go on.
        batched: add events that are emitted at the same moment, and complete those that end at the same moment, with
            one script of ours, which leaves the same data; False: one of BullMQ's own for each.
        version: the application's, which `workers` shows: a text of up to 64 characters.

    Raises:
        DeclarationError: the prefix, a timeout or the version is invalid.
    """

    event_class: type[Event[Any, Any]] = Event

    def __init__(
        self,
        url: str | None = None,
        *,
        embedded: bool = True,
        prefix: str = "bull",
        emit_timeout: Seconds = 10,
        stop_timeout: Seconds = 25,
        batched: bool = True,
        version: str | None = None,
    ) -> None:
        if not isinstance(prefix, str) or not prefix or len(prefix) > 256:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("prefix must be a word such as 'bull'.")
        self.prefix = text(prefix, "prefix")
        self.emit_timeout = seconds(emit_timeout, "emit_timeout", least=0.001)
        self.stop_timeout = seconds(stop_timeout, "stop_timeout")
        self._batched = boolean(batched, "batched")
        self._version = version_text(version)
        if url is not None and not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("url must be a URL such as 'redis://127.0.0.1:6379/0', or None.")
        self.signals = Signals(_report_broken_subscriber)
        self.signals.subscribe(LogSubscriber())
        self.server = ServerLocator(url, self.signals.emit, embedded=boolean(embedded, "embedded"))
        self.delivery: Delivery | None = None  # where a test kit takes the emits
        self.resources = Resources(self)  # lifespans, middleware, overridden dependencies
        self._outages = Outages(self.signals.emit)
        self._events: dict[str, Event[Any, Any]] = {}
        self._watchdog_times = WatchdogTimes()
        self._sessions = Sessions(self.server, self._open_session)

    # -- declaring

    def event(self, name: str, **options: Unpack[EventOptions]) -> Decorator:
        """Decorator: declare an event by its handler, whose first annotation is the payload's type.

        `name` is a letter or digit, then up to 127 of letters, digits, `.`, `_`, `-`. For the options see
        `EventOptions` and `DeclareOptions`.

        Raises:
            DeclarationError: the name is taken, an option is invalid, or the function cannot be a handler.
        """
        check_options(name, options, EventOptions.__optional_keys__)
        run_in = options.pop("run_in", None)

        def decorate(function: Callable[..., Any]) -> Event[Any, Any]:
            scope = caller_scope()
            payload = inspect_handler(name, function, run_in, scope).payload
            event: Event[Any, Any] = self.declare(name, payload, **options)
            event.set_handler(function, run_in, scope)
            event.__doc__ = function.__doc__
            return event

        return decorate  # pyright: ignore[reportReturnType] - one function stands for the four overloads

    @overload
    def declare(
        self, name: str, payload: type[P], *, result: type[R], **options: Unpack[DeclareOptions[P]]
    ) -> Event[P, R]: ...
    @overload
    def declare(
        self, name: str, payload: type[P], *, result: None, **options: Unpack[DeclareOptions[P]]
    ) -> Event[P, None]: ...
    @overload
    def declare(
        self, name: str, payload: type[P], *, result: UnionType, **options: Unpack[DeclareOptions[P]]
    ) -> Event[P, Any]: ...
    @overload
    def declare(self, name: str, payload: type[P], **options: Unpack[DeclareOptions[P]]) -> Event[P, Any]: ...
    @overload
    def declare(
        self, name: str, payload: Any, *, result: type[R], **options: Unpack[DeclareOptions[Any]]
    ) -> Event[Any, R]: ...
    @overload
    def declare(self, name: str, payload: Any, **options: Unpack[DeclareOptions[Any]]) -> Event[Any, Any]: ...
    def declare(
        self, name: str, payload: Any, *, result: Any = Any, **options: Unpack[DeclareOptions[Any]]
    ) -> Event[Any, Any]:
        """Declare an event apart from its handler, for producers that must not import it. As `event`.

        `result` is the type that the handler returns: the emits are `Emitted[result]`, and `Emitted.result` validates.
        """
        check_result(name, result)
        event: Event[Any, Any] = self.event_class(self, declare(name, payload, options, self.prefix, result))
        sanitize = options.get("sanitize")
        if sanitize is not None:
            event.sanitize(sanitize)
        self.add(event)
        return event

    def add(self, event: Event[Any, Any]) -> None:
        """Add an event that was made for this herd; raises DeclarationError as `declare`."""
        self._check_shards(event.declaration)
        if event.name in self._events:
            raise DeclarationError(f"The event {event.name!r} is declared twice; give one of them another name.")
        event.tell_failures()
        self._events[event.name] = event

    def _check_shards(self, declaration: Declaration) -> None:
        if declaration.shards > 1 and has_hash_tag(self.prefix):
            raise DeclarationError(
                f"{declaration.name}: the prefix has a hash tag, which keeps all shards in one slot; "
                "give the herd a prefix without braces."
            )
        for other in self._events.values():
            shared = other.declaration.queue == declaration.queue and other.name != declaration.name
            if shared and any(each.shards > 1 or each.ordered for each in (other.declaration, declaration)):
                raise DeclarationError(
                    f"{declaration.name} and {other.name} share a queue; an event with shards or an order needs its "
                    "queue for itself."
                )

    def __getitem__(self, name: str) -> Event[Any, Any]:
        """Return the event of that name; raises UnknownEvent, which suggests the nearest name."""
        event = self._events.get(name)
        if event is not None:
            return event
        declared = f"declared are: {', '.join(sorted(self._events)) or 'none'}."
        hint = did_you_mean(name, self._events, declared, cutoff=0.4)
        # The argument may be a payload by mistake: quote it only if it looks like a name.
        named = f"is named {name!r}" if is_name(name) and not name.isdecimal() else "has that name"
        raise UnknownEvent(f"No event {named}; {hint}")

    def __iter__(self) -> Iterator[Event[Any, Any]]:
        """The declared events."""
        return iter(self._events.values())

    def declared_handlers(self) -> Iterator[DeclaredHandler]:
        """The handlers of its events."""
        for event in self:
            yield from event.declared_handlers()

    # -- connections

    async def __aenter__(self) -> Self:
        """Open the connection. If Redis cannot be reached, that is logged, and the first use tries again."""
        if self.delivery is not None:
            return self
        session = await self._sessions.open()
        session.entered += 1
        with suppress(RedisUnavailable):  # logged as an outage
            await session.backend.client.call(0, "PING")
        return self

    async def __aexit__(self, *_: object) -> None:
        session = self._sessions.current
        if session is None:
            return  # closed, or ended with its loop
        session.entered = max(0, session.entered - 1)  # a test kit's emits were kept when it was entered, perhaps
        # Other blocks go on, or what was started apart from any: this one may stand in a request or a handler.
        if not session.entered and not (session.started_apart and session.worker.events):
            await self.close()

    async def backend(self) -> Backend:
        """Return the running loop's backend, made on first use."""
        session = self._sessions.current or await self._sessions.open()
        return session.backend

    def backend_of_thread(self) -> Backend | None:
        """The backend of the loop in which `run_sync` runs coroutines, once it is open; from any thread."""
        session = self._sessions.of_portal
        return None if session is None else session.backend

    def _open_session(self, url: RedisURL, on_end: Callable[[], Awaitable[None]]) -> LoopSession:
        backend = Backend(url, self.prefix, self._outages, batched=self._batched, restart=self.server.restart)
        worker = Worker(self.signals, self._declared, self._watchdog_times, self._version)
        return LoopSession(backend, worker, self.resources.open_lifespans(), self.signals, on_end)

    async def close(self) -> None:
        """Stop what is processed in this event loop, close the connections and leave the embedded server.

        The next use opens them again.

        Raises:
            UsageError: called by a handler, which it would wait for.
        """
        session = self._sessions.current
        if session is not None and session.worker.events:
            self._refuse_in_handler("herd.close()")
            await self.stop()
        await self._sessions.close()

    def close_sync(self) -> None:
        """`close` from code without an event loop; other threads' event loops and their calls go on."""
        self._sessions.close_sync()
        if not self._sessions.running:
            self.server.leave()

    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this herd from code without an event loop, in a background thread.

        Raises:
            UsageError: an event loop runs in this thread.
        """
        return self._sessions.run_sync(coroutine)

    # -- workers

    @property
    def admin(self) -> Admin:
        """Reads what the queues hold, and steers it."""
        # Those who only emit and process do without it.
        from oxherd.admin import Admin

        return Admin(self)

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers, in any process, that process events of this herd, sorted by `since`. Script: workers.

        Raises:
            RedisUnavailable: a server cannot be reached within `emit_timeout`.
        """
        if self.delivery is not None:
            return []  # a test's emits are kept: the server is not the test's
        backend = await self.backend()
        return await live_workers({backend.queue(event.declaration) for event in self}, timeout=self.emit_timeout)

    def _declared(self, queue: str) -> list[Declaration]:
        return [event.declaration for event in self if event.declaration.queue == queue]


def _report_broken_subscriber(error: BaseException) -> None:
    # Not its message, which could hold anything.
    enabled_logger().error("a telemetry subscriber failed: %s", type(error).__name__)
