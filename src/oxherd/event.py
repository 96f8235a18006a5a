"""An event: the one interface to declare, emit, schedule, start and stop it."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Protocol, TypeVar, Unpack, overload
from uuid import UUID

from uuid_utils.compat import uuid7

from oxherd.bullmq.job import NewJob, event_id_text
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.bullmq.worker_records import live_workers
from oxherd.context import Context
from oxherd.declaration import Declaration, RunIn, check_options
from oxherd.emitted import Emitted
from oxherd.errors import DeclarationError, UsageError
from oxherd.event_limits import EventLimits
from oxherd.event_pausing import EventPausing
from oxherd.event_schedules import EventSchedules
from oxherd.handler import DeclaredHandler, DeclaresHandlers, Handler, caller_scope, inspect_handler
from oxherd.handler_call import HandlerCall
from oxherd.payload.result_type import ResultType
from oxherd.policy import Seconds
from oxherd.privacy.allow import Allow
from oxherd.privacy.shown_failure import sanitizer_of
from oxherd.privacy.shown_payload import Sanitizer
from oxherd.process import Process
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.emit_errors import partly_acknowledged
from oxherd.producer.emit_options import EmitManyOptions, EmitOptions, new_jobs
from oxherd.producer.emitter import Emit, Emitter
from oxherd.producer.event_answers import EventAnswers
from oxherd.producer.messages import NO_OPTIONS, Message, RelayOptions, message_of, relayed_job
from oxherd.producer.sent_back import tell_failures
from oxherd.producer.sync_portal import refuse_in_event_loop
from oxherd.worker.stop_report import StopReport

if TYPE_CHECKING:  # an event belongs to an app, and an app knows its events
    from oxherd.app import Oxherd

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")

# A tick's begins with `repeat:`; BullMQ refuses a colon in other ids.
_JOB_ID = re.compile(r"(?:repeat:[^\ud800-\udfff]{1,512})|[^:\ud800-\udfff]{1,512}")
_CHUNK = 500
_DURABLE_CHUNK = 5000  # a disk may take a second to confirm each chunk


class Event(HandlerCall[P, R], EventSchedules[P, R], EventLimits, EventPausing, DeclaresHandlers, Generic[P, R]):
    """A typed event on a herd. Made by `Oxherd.event` or `Oxherd.declare`."""

    def __init__(self, herd: Oxherd, declaration: Declaration) -> None:
        self._herd = herd
        self.declaration = declaration
        self._emitter = Emitter(declaration, herd.signals, herd.emit_timeout)
        self.answers = EventAnswers(declaration, herd.emit_timeout)
        self._handler: Handler | None = None
        self._result_type: ResultType | None = None
        self._sanitize: Callable[[Any], Any] | Allow | None = None

    @property
    def name(self) -> str:
        """The event's name."""
        return self.declaration.name

    @property
    def herd(self) -> Oxherd:
        """The herd on which the event is declared."""
        return self._herd

    @property
    def handler(self) -> Handler | None:
        """The handler, if this process has one."""
        return self._handler

    def declared_handlers(self) -> Iterator[DeclaredHandler]:
        """Its handler, if that is known here."""
        if self._handler is not None:
            herd = self._herd
            yield DeclaredHandler(self.declaration, self._handler, herd.signals, herd.resources, herd.close_sync)

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
    @overload
    def process(self, function: Callable[Concatenate[P, ...], Coroutine[Any, Any, S]], /) -> Event[P, S]: ...
    @overload
    def process(self, function: Callable[Concatenate[P, ...], S], /) -> Event[P, S]: ...
    def process(self, function: Callable[..., Any], /) -> Event[P, Any]:
        """Decorator: set the handler, an `async def`, or a `def`, which runs in a thread.

        Raises:
            DeclarationError: the event already has a handler, or the function cannot be one.
        """
        self.set_handler(function, None, caller_scope())
        return self

    def set_handler(self, function: Callable[..., Any], run_in: RunIn | Process | None, scope: dict[str, Any]) -> None:
        """As `process`, with where a `def` runs, and the names that its annotations may use."""
        if self._handler is not None:
            raise DeclarationError(f"{self.name}: it has a handler already; remove one of them.")
        self._handler = inspect_handler(self.name, function, run_in, scope)
        self._result_type = None

    @overload
    def sanitize(self, function: Callable[[P], Any], /) -> Callable[[P], Any]: ...
    @overload
    def sanitize(self, function: Allow, /) -> Allow: ...
    def sanitize(self, function: Callable[[P], Any] | Allow, /) -> Callable[[P], Any] | Allow:
        """Set what the log may show of a payload: a function from payload to JSON (as a decorator), or an Allow.

        Raises:
            DeclarationError: the event already has a sanitiser, the function is `async def`, or the Allow names a field
                that the payload's type lacks.
        """
        if self._sanitize is not None:
            raise DeclarationError(f"{self.name}: it has a sanitiser already; remove one of them.")
        sanitizer_of(self.declaration.payload, function)
        self._sanitize = function
        return function

    def sanitizer(self) -> Sanitizer[P]:
        """Return what turns payloads into what the log shows."""
        return sanitizer_of(self.declaration.payload, self._sanitize)

    def tell_failures(self) -> None:
        """Have its `on_failed` read its failures; raises DeclarationError if that is another herd's."""
        tell_failures(self.declaration, self.sanitizer, self._emitter, self._herd)

    def copy(
        self,
        herd: Oxherd,
        *,
        declaration: Declaration | None = None,
        handler: Handler | None = None,
        sanitize: Callable[[Any], Any] | None = None,
    ) -> Event[P, Any]:
        """Declare the event on another herd, with the given parts replaced; for tests."""
        declared = declaration or self.declaration
        if declared.on_failed is not None and declared.on_failed not in list(herd):
            declared = replace(declared, on_failed=None)  # the relay sends to events of the same herd
        copied: Event[P, Any] = Event(herd, declared)
        copied._handler = handler or self._handler
        copied._sanitize = sanitize or self._sanitize
        herd.add(copied)
        return copied

    # -- emitting

    async def emit(self, payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """Put an event on its queue, and return once Redis has acknowledged it.

        `payload` is an instance of the event's type, or anything that pydantic converts to one. For the options see
        `EmitOptions` and `EmitManyOptions`.

        Raises:
            InvalidPayload: the payload does not fit the event's type; nothing is sent.
            PayloadTooLarge: its JSON exceeds `max_payload` bytes; nothing is sent.
            UsageError: an option is unknown or its value invalid; nothing is sent.
            EmitError: Redis did not acknowledge it within the herd's `emit_timeout`; `maybe_stored` says whether it may
                be stored.
            NotDurable: a durable event was not confirmed in time, or (at once) the server has neither a replica nor a
                disk that could confirm it.
            ConfigError, ServerError: the URL cannot be used, or the embedded server cannot be started.

        Redis: add_many, a script of ours that adds all events emitted at the same moment as BullMQ's addStandardJob
        would; addDelayedJob with a delay, addPrioritizedJob with a priority. Until the deadline, it is retried through
        outages under the same id. `once` is BullMQ's deduplication by the event's own id: the queue's key `de:<id>`.
        A `unique` event is added by add_unique, under BullMQ's deduplication keys as well.
        """
        job = self._new_job(payload, options)
        if (delivery := self._herd.delivery) is not None:
            await delivery.deliver(self.declaration, [job])
            return self._emitted(job)
        return await self._add(job, explicit_id=options.get("id") is not None)

    async def _add(self, job: NewJob, *, explicit_id: bool, emit: Emit | None = None) -> Emitted[R]:
        backend = await self._herd.backend()
        first = await self._emitter.add(backend, job, explicit_id=explicit_id, emit=emit)
        return self._emitted(job) if first is None else self._duplicate(first)

    def _emitted(self, job: NewJob) -> Emitted[R]:
        return Emitted(self, self.name, job.id, UUID(job.id))

    def _duplicate(self, first: str) -> Emitted[R]:
        return Emitted(self, self.name, first, UUID(event_id_text(self.declaration.queue, first)), duplicate=True)

    def _new_job(self, payload: P, options: EmitOptions) -> NewJob:
        check_options(self.name, options, EmitOptions.__optional_keys__)
        given_id = options.get("id")
        event_id = uuid7() if given_id is None else given_id
        (job,) = new_jobs(self.declaration, [(event_id, payload)], options)
        return job

    async def emit_many(self, payloads: Iterable[P], /, **options: Unpack[EmitManyOptions]) -> list[Emitted[R]]:
        """Put many events on their queue, in order. All are validated before the first is sent. As `emit`.

        Raises:
            EmitError: sending failed midway; `emitted` lists, in order, what was acknowledged (and confirmed, if
                durable).
        """
        jobs = self._new_jobs(payloads, options)
        if (delivery := self._herd.delivery) is not None:
            await delivery.deliver(self.declaration, jobs)
            return [self._emitted(job) for job in jobs]
        return await self._add_many(jobs)

    async def _add_many(self, jobs: list[NewJob]) -> list[Emitted[R]]:
        backend = await self._herd.backend()
        # Routed before the first is sent, since a key function may fail.
        routed = [(job, self._emitter.queue(backend, job)) for job in jobs]
        emitted: list[Emitted[R]] = []
        size = _DURABLE_CHUNK if jobs and jobs[0].durable else _CHUNK
        for start in range(0, len(jobs), size):
            chunk = routed[start : start + size]
            failures, first = await self._emitter.add_many(backend, chunk)
            acknowledged = [job for job, _ in chunk if job.id not in failures]
            emitted += [
                self._duplicate(first[job.id]) if job.id in first else self._emitted(job) for job in acknowledged
            ]
            if failures:
                raise partly_acknowledged([*failures.values()], emitted, len(jobs))
        return emitted

    def _new_jobs(self, payloads: Iterable[P], options: EmitManyOptions) -> list[NewJob]:
        check_options(self.name, options, EmitManyOptions.__optional_keys__)
        return new_jobs(self.declaration, ((uuid7(), payload) for payload in payloads), options)

    def message(self, payload: P, /, **options: Unpack[EmitOptions]) -> Message:
        """An emit for an outbox: validated, with its id, and not sent; `relay` sends it. No I/O.

        Raises:
            InvalidPayload, PayloadTooLarge, UsageError: as `emit`.
        """
        return message_of(self.declaration, self._emitter.traced(self._new_job(payload, options)), options)

    async def relay(self, event_id: str, data: bytes, metadata: str, options: RelayOptions = NO_OPTIONS) -> None:
        """Add an event of an outbox, for the relay; within a day, one id makes no second event.

        `data` is its payload's JSON as it is to be stored.

        Raises:
            RedisUnavailable, ScriptError, Unconfirmed, TimeoutError, OxherdError: it may not be stored, or not durably.
        """
        job = relayed_job(self.declaration, event_id, data, metadata, options)
        if (delivery := self._herd.delivery) is not None:
            await delivery.deliver(self.declaration, [job])
        else:
            await self._emitter.relay(await self._herd.backend(), job)

    def emit_sync(self, payload: P, /, **options: Unpack[EmitOptions]) -> Emitted[R]:
        """`emit` from code without an event loop (Django, Flask, a script); blocks meanwhile.

        A plain event with a new id goes over a connection that this thread has to itself meanwhile; any other, and
        what is not acknowledged at once, through an event loop in a thread of the herd's.

        Raises:
            UsageError: an event loop runs in this thread.
        """
        if self._herd.delivery is None:
            refuse_in_event_loop("emit")
        return self.send_sync(self._new_job(payload, options), explicit_id=options.get("id") is not None)

    def send_sync(self, job: NewJob, *, explicit_id: bool) -> Emitted[R]:
        """`emit_sync` of a job that was made before; `explicit_id`: the caller has chosen its id."""
        if (delivery := self._herd.delivery) is not None:
            delivery.deliver_sync(self.declaration, [job], "emit")
            return self._emitted(job)
        refuse_in_event_loop("emit")
        backend, emit = self._herd.backend_of_thread(), self._emitter.begin()
        if backend is not None and not explicit_id and self._emitter.add_blocking(backend, job, emit):
            return self._emitted(job)
        return self._herd.run_sync(self._add(job, explicit_id=explicit_id, emit=emit))

    def emit_many_sync(self, payloads: Iterable[P], /, **options: Unpack[EmitManyOptions]) -> list[Emitted[R]]:
        """`emit_many` from code without an event loop."""
        if self._herd.delivery is None:
            refuse_in_event_loop("emit_many")
        return self.send_many_sync(self._new_jobs(payloads, options))

    def send_many_sync(self, jobs: list[NewJob]) -> list[Emitted[R]]:
        """`emit_many_sync` of jobs that were made before."""
        if (delivery := self._herd.delivery) is not None:
            delivery.deliver_sync(self.declaration, jobs, "emit_many")
            return [self._emitted(job) for job in jobs]
        refuse_in_event_loop("emit_many")
        return self._herd.run_sync(self._add_many(jobs))

    # -- afterwards

    def emitted(self, event_id: UUID | str, /) -> Emitted[R]:
        """An event of which only the id was kept, to ask what became of it; no I/O.

        A str is a BullMQ job's id, verbatim: that of one which Node has added.

        Raises:
            UsageError: it is neither.
        """
        if isinstance(event_id, UUID):
            return Emitted(self, self.name, str(event_id), event_id)
        if not isinstance(event_id, str) or not _JOB_ID.fullmatch(event_id):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{self.name}: emitted() takes a uuid.UUID, or the id of a job as BullMQ has it.")
        return Emitted(self, self.name, event_id, UUID(event_id_text(self.declaration.queue, event_id)))

    async def payload(self, event_id: UUID | str, /) -> P | None:
        """The payload that is stored of an event, as a handler would get it; None where nothing is stored of it.

        Raises:
            InvalidPayload: it does not fit the type, or does not open here.
            RedisUnavailable: the server was away for the herd's `emit_timeout`.
            UsageError: as `emitted`.

        Redis: HMGET.
        """
        _, job_id = self.emitted(event_id).job
        data = await self.answers.payload(await self._herd.backend(), job_id)
        return None if data is None else self.declaration.payload.decode(self.declaration.payload.open(data))

    @property
    def result_type(self) -> ResultType:
        """The type of its results: as declared, else as the handler's annotation says."""
        if self._result_type is None:
            declared, handler = self.declaration.result, self._handler
            if handler is not None and declared.annotation is Any:
                declared = declared.annotated(handler.result)
            self._result_type = declared
        return self._result_type

    @property
    def delivery(self) -> Delivery | None:
        """Where a test kit takes the herd's emits."""
        return self._herd.delivery

    async def backend(self) -> Backend:
        """The running loop's backend."""
        return await self._herd.backend()

    def run_sync(self, coroutine: Coroutine[Any, Any, S]) -> S:
        """As `Oxherd.run_sync`."""
        return self._herd.run_sync(coroutine)

    # -- processing

    async def start(self) -> None:
        """Start processing this event. Returns at once, even during an outage: the worker keeps trying.

        Raises:
            DeclarationError: the event has no handler here.
        """
        await self._herd.start_events([self.name])

    async def stop(self, timeout: Seconds | None = None) -> StopReport:
        """Fetch no more of this event, let what runs end, and requeue what still runs after `timeout` seconds.

        `timeout` is in seconds or a timedelta; None: the herd's `stop_timeout`. Returns what became of the events that
        had begun, as `Oxherd.stop`.
        """
        return await self._herd.stop_events([self.name], timeout)

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers, in any process, that process this event, as `Oxherd.workers`."""
        if self._herd.delivery is not None:
            return []
        queue = (await self._herd.backend()).queue(self.declaration)
        found = await live_workers([queue], timeout=self._herd.emit_timeout)
        return [worker for worker in found if self.name in worker.events]


class Decorator(Protocol):
    """What `Oxherd.event(...)` returns: turns a handler into an Event."""

    @overload
    def __call__(self, function: Callable[[P, Context], Coroutine[Any, Any, R]], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P], Coroutine[Any, Any, R]], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P, Context], R], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[[P], R], /) -> Event[P, R]: ...
    # With dependencies, which no checker can tell from other parameters.
    @overload
    def __call__(self, function: Callable[Concatenate[P, ...], Coroutine[Any, Any, R]], /) -> Event[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[P, ...], R], /) -> Event[P, R]: ...
