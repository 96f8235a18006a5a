"""Sends an event's jobs to their queues and waits for the acknowledgement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from oxherd.bullmq.job import NewJob
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.context import propagation_metadata
from oxherd.declaration import Declaration
from oxherd.errors import EmitError, RedisUnavailable
from oxherd.payload.failure import FailedJob
from oxherd.producer.backend import Backend
from oxherd.producer.emit_errors import not_acknowledged, not_durable
from oxherd.producer.send_back import send_back
from oxherd.redis.blocking_connections import Unanswered
from oxherd.redis.call_state import CallState, Unconfirmed
from oxherd.redis.client import ScriptError
from oxherd.signals import ErrorInfo, QueueFault, Signals

S = TypeVar("S")


class Emit(NamedTuple):
    """One emit: until when it has to be acknowledged (monotonic seconds), and what is known of it."""

    deadline: float
    state: CallState


class Added(NamedTuple):
    """What became of many jobs, by their ids: errors, and the ids of the jobs whose duplicates they are."""

    failures: dict[str, BaseException]
    duplicates: dict[str, str]


class Emitter:
    """One event's way to Redis; each call has `timeout` seconds.

    Raises, from each method that sends:
        EmitError: Redis did not acknowledge the call in time.
    """

    def __init__(self, declaration: Declaration, signals: Signals, timeout: float) -> None:
        self._declaration = declaration
        self._signals = signals
        self._timeout = timeout

    def queue(self, backend: Backend, job: NewJob) -> BullQueue:
        """Return the queue that a job goes to.

        Raises:
            UsageError: the event's key function failed.
        """
        declaration = self._declaration
        if declaration.shards == 1:
            return backend.queue(declaration)
        return backend.shard_router(declaration).queue(job)

    def begin(self) -> Emit:
        """Begin an emit now: its deadline counts from here."""
        return Emit(time.monotonic() + self._timeout, CallState())

    def add_blocking(self, backend: Backend, job: NewJob, emit: Emit) -> bool:
        """Add one job with a new id from a thread without an event loop, which it blocks.

        Returns whether it was added. If not, `add` does, with the same `emit`, which knows whether the job may be
        stored by then.
        """
        if self._declaration.shards > 1 or self._signals.tracer is not None:
            return False
        try:
            added = backend.queue(self._declaration).add_blocking(job, self._timeout)
        except Unanswered as unanswered:
            emit.state.maybe_applied = emit.state.repeated = unanswered.sent
            return False
        if added:
            self._signals.emitted(self._declaration.name)
        return added

    async def add(self, backend: Backend, job: NewJob, *, explicit_id: bool, emit: Emit | None = None) -> str | None:
        """Add one job; `explicit_id`: the caller has chosen its id.

        Returns the id of the job whose duplicate it is; None if it was added.
        """
        emit = emit or self.begin()
        tracer = self._signals.tracer
        if tracer is None:
            return await self._add(backend, job, explicit_id, emit)
        span = tracer.start_send(job.name, [job.id])
        try:
            traced = replace(job, metadata=propagation_metadata(span.trace))
            first = await self._add(backend, traced, explicit_id, emit)
        except BaseException as error:
            span.end([error])
            raise
        span.end([])
        return first

    async def _add(self, backend: Backend, job: NewJob, explicit_id: bool, emit: Emit) -> str | None:
        first = await self._acknowledge(job.id, partial(self._send, backend, job, explicit_id), emit)
        self._signals.emitted(self._declaration.name)
        return first

    async def relay(self, backend: Backend, job: NewJob) -> None:
        """Add the job of an outbox's message; the relay retries, and reports what fails.

        Raises:
            RedisUnavailable, ScriptError, Unconfirmed, TimeoutError: it is not known to be stored, or to be confirmed.
            UsageError: as `queue`.
        """
        async with asyncio.timeout(self._timeout):
            await self._send(backend, job, True, time.monotonic() + self._timeout, CallState())
        self._signals.emitted(self._declaration.name)

    def traced(self, job: NewJob) -> NewJob:
        """The job in the trace of its emit, whose span ends here: an outbox keeps it."""
        tracer = self._signals.tracer
        if tracer is None:
            return job
        span = tracer.start_send(job.name, [job.id])
        span.end([])
        return replace(job, metadata=propagation_metadata(span.trace))

    async def _send(
        self, backend: Backend, job: NewJob, explicit_id: bool, deadline: float, state: CallState
    ) -> str | None:
        queue = self.queue(backend, job)
        if self._declaration.shards > 1:
            await backend.shard_registry(self._declaration).announce()
        # The id may be stored from a time when the event had another number of shards.
        if explicit_id and self._declaration.own_queue:
            holder = await backend.shard_router(self._declaration).holder(job)
            if holder is not None and not job.durable:
                return job.id
            # Adding it there once more makes no second event, but waits for the confirmation.
            queue = holder or queue
        return await queue.add(job, deadline=deadline, state=state)

    async def send_back(self, backend: Backend, failed: FailedJob) -> bool:
        """Put a failed event back, or emit it again; returns whether there was something to do."""
        back = False

        async def send(deadline: float, state: CallState) -> None:
            nonlocal back
            back = await send_back(backend, self._declaration, failed, deadline, state)

        await self._acknowledge(failed.id, send)
        return back

    async def add_many(self, backend: Backend, routed: list[tuple[NewJob, BullQueue]]) -> Added:
        """Add jobs to their queues, in order."""
        tracer = self._signals.tracer
        if tracer is None or not routed:
            return await self._add_many(backend, routed)
        span = tracer.start_send(self._declaration.name, [job.id for job, _ in routed])
        metadata = propagation_metadata(span.trace)
        try:
            added = await self._add_many(backend, [(replace(job, metadata=metadata), queue) for job, queue in routed])
        except BaseException as error:
            span.end([error] * len(routed))
            raise
        span.end(list(added.failures.values()))
        return added

    async def _add_many(self, backend: Backend, routed: list[tuple[NewJob, BullQueue]]) -> Added:
        by_queue: dict[BullQueue, list[NewJob]] = {}
        for job, queue in routed:
            by_queue.setdefault(queue, []).append(job)
        failures: dict[str, BaseException] = {}
        duplicates: dict[str, str] = {}

        async def add(queue: BullQueue, batch: list[NewJob]) -> None:
            async def send(deadline: float, state: CallState) -> None:
                if self._declaration.shards > 1:
                    await backend.shard_registry(self._declaration).announce()
                duplicates.update(await queue.add_all(batch, deadline=deadline, state=state))

            try:
                await self._acknowledge(batch[0].id, send)
            except Exception as error:  # noqa: BLE001 - raised to the caller with what was acknowledged
                failures.update(dict.fromkeys((job.id for job in batch), error))

        async def add_in_order(queue: BullQueue, batches: list[list[NewJob]]) -> None:
            for index, batch in enumerate(batches):
                await add(queue, batch)
                if (error := failures.get(batch[0].id)) is not None:
                    # A later batch would overtake the failed one.
                    failures.update((job.id, error) for later in batches[index + 1 :] for job in later)
                    return

        batched = [(queue, queue.batches(jobs)) for queue, jobs in by_queue.items()]
        if self._declaration.ordered or self._declaration.unique is not None:
            await asyncio.gather(*(add_in_order(queue, batches) for queue, batches in batched))
        else:
            await asyncio.gather(*(add(queue, batch) for queue, batches in batched for batch in batches))
        self._signals.emitted(self._declaration.name, len(routed) - len(failures))
        return Added(failures, duplicates)

    async def _acknowledge(
        self, job_id: str, send: Callable[[float, CallState], Awaitable[S]], emit: Emit | None = None
    ) -> S:
        name, timeout = self._declaration.name, self._timeout
        deadline, state = emit or self.begin()
        cause: BaseException
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await send(deadline, state)
        except Unconfirmed as error:
            raise not_durable(name, error, maybe_stored=state.maybe_applied) from None
        except (RedisUnavailable, TimeoutError) as error:
            if state.unconfirmed is not None:
                raise not_durable(name, state.unconfirmed, maybe_stored=state.maybe_applied) from None
            cause = state.last or error if isinstance(error, TimeoutError) else error
        except ScriptError as error:
            cause = error
            self._report("emit", error, job_id)
        raise not_acknowledged(name, cause, timeout, maybe_stored=state.maybe_applied)

    async def call_schedulers(self, backend: Backend, call: Callable[[Schedulers, float], Awaitable[S]]) -> S:
        """Return what `call` makes of the event's schedulers and the deadline."""
        schedulers = backend.schedulers(backend.queue(self._declaration))
        try:
            return await call(schedulers, time.monotonic() + self._timeout)
        except ScriptError as error:
            cause: Exception = error
            self._report("schedule", error)
        except RedisUnavailable as error:
            cause = error
        raise EmitError(f"{self._declaration.name}: the schedule was not acknowledged ({str(cause).rstrip('.')}).")

    def _report(self, source: str, error: BaseException, event_id: str | None = None) -> None:
        info = ErrorInfo(type(error).__name__, str(error))
        name, queue = self._declaration.name, self._declaration.queue
        self._signals.emit(QueueFault(source=source, queue=queue, error=info, event=name, event_id=event_id))
