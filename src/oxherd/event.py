"""An event: the one interface to declare, emit, schedule, start and stop it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack, cast, overload
from uuid import UUID

from uuid_utils.compat import uuid7

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.schedule_ticks import ensure
from oxherd.context import Context
from oxherd.declaration import Declaration, RunIn, check_name, check_options
from oxherd.errors import DeclarationError, EmitError, NotDurable, OxherdError
from oxherd.handler import DeclaredHandler, DeclaresHandlers, Handler, caller_scope, inspect_handler
from oxherd.policy import Seconds
from oxherd.privacy.allow import Allow
from oxherd.privacy.shown_payload import Sanitizer
from oxherd.producer.emitter import EmitManyOptions, EmitOptions, Emitter, new_jobs
from oxherd.schedule import Cron, Every, Schedule
from oxherd.worker.stop_report import StopReport

if TYPE_CHECKING:  # an event belongs to an app, and an app knows its events
    from oxherd.app import Oxherd

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")

_AT_ONCE = 500
_DURABLE_AT_ONCE = 5000  # each time, a disk may take a second to confirm them


@dataclass(frozen=True, slots=True)
class Emitted(Generic[R]):
    """The queue has acknowledged an event; `id` is its UUID."""

    id: UUID
    event: str


class Event(DeclaresHandlers, Generic[P, R]):
    """A typed event on a herd; made by `Oxherd.event` or `Oxherd.declare`."""

    def __init__(self, herd: Oxherd, declaration: Declaration) -> None:
        self._herd = herd
        self.declaration = declaration
        self._emitter = Emitter(declaration, herd.signals, herd.emit_timeout)
        self._handler: Handler | None = None
        self._sanitize: Callable[[Any], Any] | Allow | None = None

    @property
    def name(self) -> str:
        """The event's name."""
        return self.declaration.name

    @property
    def herd(self) -> Oxherd:
        """The herd that the event is declared on."""
        return self._herd

    @property
    def handler(self) -> Handler | None:
        """How the event is processed, if that is known here."""
        return self._handler

    def declared_handlers(self) -> Iterator[DeclaredHandler]:
        """Its handler, if that is known here."""
        if self._handler is not None:
            yield DeclaredHandler(self.declaration, self._handler, self._herd.signals, self._herd.close_sync)

    def __repr__(self) -> str:
        return f"Event({self.name!r})"

    # -- declaring

    @overload
    def process(self, function: Callable[[P, Context], Coroutine[Any, Any, S]], /) -> Event[P, S]: ...
    @overload
    def process(self, function: Callable[[P], Coroutine[Any, Any, S]], /) -> Event[P, S]: ...
    @overload
    def process(self, function: Callable[[P, Context], S], /) -> Event[P, S]: ...
    @overload
    def process(self, function: Callable[[P], S], /) -> Event[P, S]: ...
    def process(self, function: Callable[..., Any], /) -> Event[P, Any]:
        """Say how the event is processed (a decorator): `async def`, or `def`, which runs in a thread.

        Raises:
            DeclarationError: the event has a handler already, or the function is not one.
        """
        self.set_handler(function, None, caller_scope())
        return self

    def set_handler(self, function: Callable[..., Any], run_in: RunIn | None, scope: dict[str, Any]) -> None:
        """As `process`, with the place where a `def` runs, and the names that its annotations may use."""
        if self._handler is not None:
            raise DeclarationError(f"{self.name}: it has a handler already; an event is processed in one way.")
        self._handler = inspect_handler(self.name, function, run_in, scope)

    @overload
    def sanitize(self, function: Callable[[P], Any], /) -> Callable[[P], Any]: ...
    @overload
    def sanitize(self, function: Allow, /) -> Allow: ...
    def sanitize(self, function: Callable[[P], Any] | Allow, /) -> Callable[[P], Any] | Allow:
        """Say what of a payload the log may show: a function of it that returns JSON (a decorator), or an Allow.

        Raises:
            DeclarationError: the event has a sanitiser already, the function is `async def`, or the Allow names a field
                that the payload's type does not have.
        """
        if self._sanitize is not None:
            raise DeclarationError(f"{self.name}: it has a sanitiser already.")
        Sanitizer(self.declaration.payload, function)
        self._sanitize = function
        return function

    def sanitizer(self) -> Sanitizer[P]:
        """What decides how payloads are shown."""
        return Sanitizer(self.declaration.payload, self._sanitize)

    def copy(
        self,
        herd: Oxherd,
        *,
        declaration: Declaration | None = None,
        handler: Handler | None = None,
        sanitize: Callable[[Any], Any] | None = None,
    ) -> Event[P, Any]:
        """The event on another herd, for a test of it; what is given takes the place of its own."""
        copied: Event[P, Any] = Event(herd, declaration or self.declaration)
        copied._handler = handler or self._handler
        copied._sanitize = sanitize or self._sanitize
        herd.add(copied)
        return copied

    # -- emitting

    async def emit(self, payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """Put an event on its queue and wait until Redis has acknowledged it.

        `payload` is an instance of the event's type, or what pydantic makes one of. The options are those of
        `EmitOptions` and `EmitManyOptions`.

        Raises:
            InvalidPayload: the payload does not fit the event's type; nothing is sent.
            PayloadTooLarge: its JSON is over `max_payload` bytes; nothing is sent.
            UsageError: a delay, priority, id or once that is not one, or an option that there is not; nothing is sent.
            EmitError: Redis did not acknowledge it within the deadline (10 seconds unless the herd says otherwise).
            NotDurable: a durable one was not confirmed within the deadline; or, at once, the server has neither a
                replica nor a disk that could confirm it. Says which, and whether it may be stored.
            ConfigError, ServerError: the URL cannot be used, or the embedded server not be started.

        Redis: addMany, a script of ours that stands for BullMQ's addStandardJob and takes what is emitted at the same
        moment; addDelayedJob with a delay, addPrioritizedJob with a priority. Tried again through outages with the same
        id until the deadline. `once` is BullMQ's deduplication by the event's own id: the key `de:<id>` of the queue.
        """
        check_options(self.name, options, EmitOptions.__optional_keys__)
        own_id = options.get("id")
        event_id = uuid7() if own_id is None else own_id
        (job,) = new_jobs(self.declaration, [(event_id, payload)], options)
        link = await self._herd.link()
        await self._emitter.add(link, job, own_id=own_id is not None)
        return Emitted(event_id, self.name)

    async def emit_many(self, payloads: Iterable[P], /, **options: Unpack[EmitManyOptions]) -> list[Emitted[R]]:
        """Put many events on their queue, in order; all are validated before the first is sent. As `emit`.

        Raises:
            EmitError: sending failed midway; its `emitted` lists, in order, what was acknowledged (and confirmed, where
                it is durable).
        """
        check_options(self.name, options, EmitManyOptions.__optional_keys__)
        jobs = new_jobs(self.declaration, ((uuid7(), payload) for payload in payloads), options)
        link = await self._herd.link()
        # Each one's queue is known before the first is sent: a key function may fail.
        routed = [(job, self._emitter.queue(link, job, own_id=False)) for job in jobs]
        emitted: list[Emitted[R]] = []
        at_once = _DURABLE_AT_ONCE if jobs and jobs[0].durable else _AT_ONCE
        for start in range(0, len(jobs), at_once):
            chunk = routed[start : start + at_once]
            failures = await self._emitter.add_many(link, chunk)
            emitted += [Emitted(UUID(job.id), self.name) for job, _ in chunk if job.id not in failures]
            if failures:
                raise _midway(list(failures.values()), emitted, len(jobs))
        return emitted

    def emit_sync(self, payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """`emit` from code without an event loop (Django, Flask, a script); blocks until it is acknowledged."""
        return self._herd.run_sync(self.emit(payload, **options))

    def emit_many_sync(self, payloads: Iterable[P], /, **options: Unpack[EmitManyOptions]) -> list[Emitted[R]]:
        """`emit_many` from code without an event loop."""
        return self._herd.run_sync(self.emit_many(payloads, **options))

    # -- scheduling

    async def schedule(self, name: str, schedule: Schedule, payload: P, /) -> None:
        """Emit the event again and again: a `Cron` or an `Every`, under a name of this event.

        Asked for once more with the same arguments (at each start, by each process) it changes nothing; with others
        it replaces what was there. One event is made for each tick, however many workers run; ticks that were missed
        while no worker ran are made up by one event.

        Raises:
            DeclarationError: the name or the schedule is not one.
            InvalidPayload, PayloadTooLarge, EmitError: as `emit`.

        Redis: BullMQ's job schedulers (scripts getJobScheduler, addJobScheduler), in the event's queue.
        """
        if not isinstance(schedule, Cron | Every):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{self.name}: a schedule is a Cron(...) or an Every(...).")
        scheduler = self._scheduler(name)
        declaration = self.declaration
        data, same = declaration.payload.encode(payload), declaration.payload.sealer.is_same
        link = await self._herd.link()
        schedulers = link.schedulers(link.queue(declaration))
        deadline = time.monotonic() + self._herd.emit_timeout
        await self._emitter.scheduled(
            ensure(schedulers, scheduler, self.name, schedule, data, declaration.options, same, deadline=deadline)
        )

    async def unschedule(self, name: str, /) -> bool:
        """End a schedule, its next tick included; says whether there was one. Script: removeJobScheduler.

        Raises:
            EmitError: Redis did not acknowledge it within the deadline.
        """
        scheduler = self._scheduler(name)
        link = await self._herd.link()
        schedulers = link.schedulers(link.queue(self.declaration))
        deadline = time.monotonic() + self._herd.emit_timeout
        return await self._emitter.scheduled(schedulers.remove(scheduler, deadline=deadline))

    # -- processing

    async def start(self) -> None:
        """Begin to process this event. Returns at once, also while Redis is away: the worker keeps trying.

        Raises:
            DeclarationError: the event has no handler here.
        """
        await self._herd.start_events([self.name])

    async def stop(self, timeout: Seconds | None = None) -> StopReport:
        """Take no more of this event, let what runs end, and put back what still runs after `timeout` seconds.

        The default is the herd's stop timeout, 25 seconds. Answers what became of the events that had begun; `stuck`
        are those whose handlers could not be ended. As `Oxherd.stop`.
        """
        return await self._herd.stop_events([self.name], timeout)

    async def __call__(self, payload: P, ctx: Context | None = None, /) -> R:
        """Run the handler itself, for unit tests: no queue, no log, no retry.

        Raises:
            DeclarationError: the event has no handler here.
        """
        handler = self._handler
        if handler is None:
            raise DeclarationError(f"{self.name}: it has no handler here; import the module that processes it.")
        context = ctx or Context(event_id=str(uuid7()), event=self.name, emitted_ms=now_ms())
        arguments: Sequence[Any] = (payload, context) if handler.wants_context else (payload,)
        if handler.run_in == "loop":
            return cast("R", await handler.function(*arguments))
        return cast("R", await asyncio.to_thread(handler.function, *arguments))

    # -- inside

    def _scheduler(self, name: str) -> str:
        check_name(name, "schedule")
        # On a queue that several events share, each has its own names.
        return name if self.declaration.own_queue else f"{self.name}/{name}"


class Decorator(Protocol):
    """What `Oxherd.event(...)` returns: it makes an Event of a handler."""

    @overload
    def __call__(self, function: Callable[[P, Context], Coroutine[Any, Any, R]], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P], Coroutine[Any, Any, R]], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P, Context], R], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P], R], /) -> Event[P, R]: ...


def _midway(errors: list[BaseException], emitted: list[Emitted[Any]], wanted: int) -> BaseException:
    first = errors[0]
    if not isinstance(first, OxherdError) or wanted == 1:
        return first
    maybe = any(isinstance(error, EmitError) and error.maybe_stored for error in errors)
    text = f"{len(emitted)} of {wanted} were acknowledged: {first}"
    if isinstance(first, NotDurable):
        return NotDurable(text, missing=first.missing, replicas=first.replicas, emitted=emitted, maybe_stored=maybe)
    return EmitError(text, emitted=emitted, maybe_stored=maybe)
