"""The herd: declares events, opens and closes connections, starts and stops the processing."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar, Unpack, overload

from oxherd.bullmq.inspection import Backlog
from oxherd.bullmq.keys import has_hash_tag
from oxherd.declaration import Declaration, DeclareOptions, EventOptions, check_options, declare, is_name
from oxherd.errors import DeclarationError, RedisUnavailable, UnknownEvent
from oxherd.event import Decorator, Event
from oxherd.handler import DeclaredHandler, DeclaresHandlers, Handler, caller_scope, inspect_handler
from oxherd.policy import Seconds, seconds
from oxherd.producer.backend import Backend, ServerLocator, SyncPortal
from oxherd.redis.outage import Outages
from oxherd.signals import Signals, WorkerStarted, WorkerStopped
from oxherd.telemetry.logs.subscriber import LogSubscriber
from oxherd.worker.executors.executor import executor_for
from oxherd.worker.health import Health
from oxherd.worker.served_events import ServedEvent
from oxherd.worker.stop_report import StopReport
from oxherd.worker.worker import Worker, time_limit

P = TypeVar("P")
T = TypeVar("T")


class Oxherd(DeclaresHandlers):
    """Events, and the server that they live on.

    Args:
        url: where Redis is; else `$OXHERD_URL`, else an embedded Valkey of the project directory.
        prefix: BullMQ's key prefix.
        emit_timeout: seconds (or a timedelta) that an emit may take.
        stop_timeout: seconds (or a timedelta) that a stop lets running events go on.
        batched: add the events that are emitted at the same moment, and complete those that end at the same moment,
            with one script of ours, which leaves the same data; False does each with BullMQ's own.

    Nothing is connected or read from the environment before the first use.

    Raises:
        DeclarationError: a prefix or a timeout that cannot be.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "bull",
        emit_timeout: Seconds = 10,
        stop_timeout: Seconds = 25,
        batched: bool = True,
    ) -> None:
        if not isinstance(prefix, str) or not prefix or len(prefix) > 256:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("prefix must be a word such as 'bull'.")
        self.prefix = prefix
        self.emit_timeout = seconds(emit_timeout, "emit_timeout", least=0.001)
        self.stop_timeout = seconds(stop_timeout, "stop_timeout")
        self._batched = batched
        self.signals = Signals(_report_broken_subscriber)
        self.signals.subscribe(LogSubscriber())
        self.server = ServerLocator(url)
        self._outages = Outages(self.signals.emit)
        self._events: dict[str, Event[Any, Any]] = {}
        self._links: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Backend] = weakref.WeakKeyDictionary()
        self._opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._portal: SyncPortal | None = None
        self._worker = Worker(self.signals, self._outages, self._is_declared)
        self._entered = 0
        self._pid = os.getpid()

    # -- declaring

    def event(self, name: str, **options: Unpack[EventOptions]) -> Decorator:
        """Declare an event by its handler (a decorator); the payload's type is the handler's first annotation.

        `name` is a letter or digit, then up to 127 of letters, digits, `.`, `_`, `-`. The options are those of
        `EventOptions` and `DeclareOptions`.

        Raises:
            DeclarationError: a value that cannot work, a second event of the name, a handler that is not one.
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
    def declare(self, name: str, payload: type[P], **options: Unpack[DeclareOptions[P]]) -> Event[P, Any]: ...
    @overload
    def declare(self, name: str, payload: Any, **options: Unpack[DeclareOptions[Any]]) -> Event[Any, Any]: ...
    def declare(self, name: str, payload: Any, **options: Unpack[DeclareOptions[Any]]) -> Event[Any, Any]:
        """Declare an event apart from its processing, for a producer that must not import the handler. As `event`."""
        event: Event[Any, Any] = Event(self, declare(name, payload, options))
        self._check(event)
        sanitize = options.get("sanitize")
        if sanitize is not None:
            event.sanitize(sanitize)
        self._events[name] = event
        return event

    def add(self, event: Event[Any, Any]) -> None:
        """Take an event that was made for this herd; raises DeclarationError as `declare`."""
        self._check(event)
        self._events[event.name] = event

    def _check(self, event: Event[Any, Any]) -> None:
        self._check_shards(event.declaration)
        if event.name in self._events:
            raise DeclarationError(f"The event {event.name!r} is declared twice; give one of them another name.")

    def _check_shards(self, declaration: Declaration) -> None:
        if declaration.shards > 1 and has_hash_tag(self.prefix):
            raise DeclarationError(
                f"{declaration.name}: the prefix has a hash tag, which keeps all shards in one slot; "
                "give the herd a prefix without braces."
            )
        for other in self._events.values():
            both = (other.declaration, declaration)
            on_one = other.declaration.queue == declaration.queue and other.name != declaration.name
            if on_one and any(each.shards > 1 or each.ordered for each in both):
                raise DeclarationError(
                    f"{declaration.name} and {other.name} share a queue; an event with shards or an order needs its "
                    "queue for itself."
                )

    def __getitem__(self, name: str) -> Event[Any, Any]:
        """The event of a name; raises UnknownEvent, with the nearest name, where there is none."""
        event = self._events.get(name)
        if event is not None:
            return event
        near = difflib.get_close_matches(name, self._events, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"declared are: {', '.join(sorted(self._events)) or 'none'}."
        # A payload may have come in its place.
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
        """Open the connection; where Redis cannot be reached yet, that is logged and tried again when needed."""
        self._entered += 1
        link = await self.link()
        try:
            await link.client.call(0, "PING")
        except RedisUnavailable:  # reported as an outage; the first emit or the worker tries again
            return self
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if self._worker.events:
            await self.stop()
        if not self._entered:
            await self.close()

    async def link(self) -> Backend:
        """The running loop's connection to Redis, made at the first use."""
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is not None and self._pid == os.getpid():
            return link
        lock = self._opening.setdefault(loop, asyncio.Lock())
        async with lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._links.clear()
            link = self._links.get(loop)
            if link is None:
                url = await asyncio.to_thread(self.server.url)
                link = self._links[loop] = Backend(url, self.prefix, self._outages, batched=self._batched)
            return link

    async def close(self) -> None:
        """Close the connections and leave the embedded server; the next use opens them again."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.close()
        portal, self._portal = self._portal, None
        if portal is not None and portal.pid == os.getpid():
            await asyncio.to_thread(self._close_portal, portal)
        if not self._links:
            await asyncio.to_thread(self.server.leave)

    def run_sync(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this herd from code without an event loop, in a thread that is kept."""
        if self._portal is None or self._portal.pid != os.getpid():
            self._portal = SyncPortal()
        return self._portal.run(coroutine)

    def close_sync(self) -> None:
        """`close` for code without an event loop."""
        portal, self._portal = self._portal, None
        if portal is not None and portal.pid == os.getpid():
            self._close_portal(portal)
        self.server.leave()

    def _close_portal(self, portal: SyncPortal) -> None:
        link = self._links.pop(portal.loop, None)
        if link is not None:
            portal.run(link.close())
        portal.close()

    # -- processing

    async def start(self) -> None:
        """Begin to process every event that has a handler. Returns at once, also while Redis is away.

        Raises:
            DeclarationError: no event has a handler.
            ConfigError, ServerError: the URL or a Keyring's key cannot be used, or the embedded server not be started.
        """
        await self.start_events([event.name for event in self if event.handler is not None])

    async def stop(self, timeout: Seconds | None = None) -> StopReport:
        """Stop every event: nothing new is taken, what runs ends, completions are written, connections close.

        After `timeout` seconds (a number or timedelta; the herd's `stop_timeout` unless given) what still runs is
        cancelled and put back on the queue at once, without costing an attempt; so are those whose handlers cannot be
        ended (a thread, or a coroutine that swallows its cancellation). Such a handler goes on, beside the event's next
        run, but nothing of it is recorded any more.

        Answers what became of the events that had begun: drained, requeued, cancelled, stranded and stuck, by their
        UUIDs.
        """
        with self._time_limit(timeout) as time_over:
            return await self.stop_when(time_over)

    def health(self) -> Health:
        """How the processing goes: live, ready, and why not. Asks nobody, and may be called from any thread, also while
        the event loop is blocked."""
        return self._worker.health()

    def nodes(self) -> dict[str, bool]:
        """The nodes of Redis, as `redis.error` names them, and whether each serves us; from any thread."""
        return self._outages.states()

    async def backlogs(self) -> list[tuple[list[str], Backlog | None]]:
        """What there is to be done by the events that are processed; None where Redis does not tell within a second.

        Events that share a queue are counted together. Script getCounts, commands LINDEX and HMGET, for each queue.
        """
        return await self._worker.backlogs()

    def run(self) -> None:
        """Start every event, process until SIGTERM or SIGINT, and stop; blocks.

        The first signal drains, the second is as if the stop timeout were over. Ends the process with status 1 where
        an event is stranded; at once, where a handler cannot be ended, and two seconds after the program's own end,
        where a thread that was started meanwhile does not end.
        """
        from oxherd.worker.main import run

        status = run(self, None, self.stop_timeout, wait_for=threading.enumerate())
        if status:
            raise SystemExit(status)

    async def start_events(self, names: Iterable[str]) -> None:
        """Begin to process the named events."""
        events = [self[name] for name in dict.fromkeys(names)]
        for event in events:
            if event.handler is None:
                raise DeclarationError(f"{event.name}: it has no handler here; import the module that processes it.")
            event.declaration.payload.sealer.load_keys()
        if not events:
            raise DeclarationError("No event has a handler; decorate a function with @herd.event(...).")
        link = await self.link()
        for event in events:
            link.queue(event.declaration)  # refused before any of them starts
        new = [event for event in events if event.name not in self._worker]
        self._worker.start(link, [_served(event, event.handler) for event in new if event.handler is not None])
        if new:
            self.signals.emit(WorkerStarted([event.name for event in new], str(link.client.url)))

    def _is_declared(self, queue: str, name: str) -> bool:
        event = self._events.get(name)
        return event is not None and event.declaration.queue == queue

    async def stop_events(self, names: list[str], timeout: Seconds | None) -> StopReport:
        """Stop the named events; the others go on."""
        with self._time_limit(timeout) as time_over:
            report = await self._worker.stop(names, time_over)
        return await self._after_stop(names, report)

    async def stop_when(self, time_over: asyncio.Event) -> StopReport:
        """Stop every event; what still runs once `time_over` is set is put back."""
        names = self._worker.events
        return await self._after_stop(names, await self._worker.stop_all(time_over))

    def _time_limit(self, timeout: Seconds | None) -> AbstractContextManager[asyncio.Event]:
        return time_limit(self.stop_timeout if timeout is None else seconds(timeout, "timeout"))

    async def _after_stop(self, names: list[str], report: StopReport | None) -> StopReport:
        whole = report or StopReport()
        if report is not None:
            self.signals.emit(WorkerStopped(names, **whole.texts, unresolved=whole.unresolved))
        if not self._worker.events and not self._entered:
            await self.close()
        return whole


def _report_broken_subscriber(error: BaseException) -> None:
    # Its message could hold anything: the type says enough.
    logging.getLogger("oxherd").error("a telemetry subscriber failed: %s", type(error).__name__)


def _served(event: Event[Any, Any], handler: Handler) -> ServedEvent:
    return ServedEvent(event.declaration, event.sanitizer(), executor_for(event.declaration, handler))
