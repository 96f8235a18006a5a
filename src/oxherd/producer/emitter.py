"""Makes an event's jobs, sends them to their queues within a deadline, and says what became of those that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from oxherd.bullmq.job import NewJob
from oxherd.bullmq.queue import BullQueue
from oxherd.context import propagation_metadata
from oxherd.declaration import MAX_SECONDS, Declaration, check_durable, check_priority, once_to_ms
from oxherd.errors import EmitError, NotDurable, RedisUnavailable, UsageError
from oxherd.policy import Seconds, seconds
from oxherd.producer.backend import Backend
from oxherd.redis.call_state import CallState, Unconfirmed
from oxherd.redis.client import ScriptError
from oxherd.signals import ErrorInfo, QueueFault, Signals

S = TypeVar("S")


class EmitManyOptions(TypedDict, total=False):
    """What may be said of events that are emitted.

    Attributes:
        delay: seconds (or a timedelta) before they may be processed.
        priority: 0 (none) is served first, then 1, 2, ... to 2,097,151.
        once: seconds (or a timedelta) for which an id makes no second event even if the first has been processed and
            removed; this emit's own retries after a lost answer included. None: as the event says; 0: not.
        durable: wait until the server's replicas have it (WAIT) or, where there are none, its disk (WAITAOF). None: as
            the event says.
    """

    delay: Seconds | None
    priority: int
    once: Seconds | None
    durable: bool | None


class EmitOptions(EmitManyOptions, total=False):
    """What may be said of one event that is emitted.

    Attributes:
        id: its UUID; made (version 7) where there is none. While an event with that id is stored, a second emit makes
            no second event.
    """

    id: UUID | None


def new_jobs(declaration: Declaration, events: Iterable[tuple[UUID, Any]], options: EmitManyOptions) -> list[NewJob]:
    """The jobs of events, each of which is an id and a payload.

    Raises:
        UsageError: an option or an id cannot be.
        InvalidPayload, PayloadTooLarge: of the first payload that cannot be sent.
    """
    name, given = declaration.name, options.get
    delay, priority, once, durable = given("delay"), given("priority", 0), given("once"), given("durable")
    delay_ms = 0 if delay is None else round(seconds(delay, f"{name}: delay", most=MAX_SECONDS) * 1000)
    if priority:
        check_priority(priority)
        if declaration.ordered:
            raise UsageError(f"{name}: an ordered event has no priorities; leave priority out.")
    once_ms = declaration.once_ms if once is None else once_to_ms(name, once)
    durable = declaration.durable if durable is None else check_durable(name, durable)
    encode, shared, metadata = declaration.payload.encode, declaration.options, propagation_metadata()
    jobs: list[NewJob] = []
    for event_id, payload in events:
        if not isinstance(event_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{name}: id must be a uuid.UUID.")
        data = encode(payload)
        jobs.append(NewJob(str(event_id), name, data, shared, delay_ms, priority, once_ms, durable, metadata))
    return jobs


class Emitter:
    """One event's way out; `limit` is in seconds.

    Raises, from each method:
        EmitError: Redis did not acknowledge it within the limit.
    """

    def __init__(self, declaration: Declaration, signals: Signals, limit: float) -> None:
        self._declaration = declaration
        self._signals = signals
        self._limit = limit

    async def add(self, link: Backend, job: NewJob, *, own_id: bool) -> None:
        """Add one job; `own_id` says that the caller has chosen its id."""
        tracer = self._signals.tracer
        if tracer is None:
            await self._add(link, job, own_id=own_id)
            return
        sending = tracer.sending(job.name, [job.id])
        try:
            await self._add(link, replace(job, metadata=propagation_metadata(sending.trace)), own_id=own_id)
        except BaseException as error:
            sending.end([error])
            raise
        sending.end([])

    async def _add(self, link: Backend, job: NewJob, *, own_id: bool) -> None:
        async def add(deadline: float, attempts: CallState) -> None:
            queue = self.queue(link, job, own_id=own_id)
            if self._declaration.shards > 1:
                await link.shard_registry(self._declaration).announce()
            # The id may be stored since the event had other shards.
            if own_id and self._declaration.own_queue:
                holder = await link.shard_router(self._declaration).holder(job)
                if holder is not None and not job.durable:
                    return
                # Stored is not confirmed: where it is, it adds no second one, and is waited for.
                queue = holder or queue
            await queue.add(job, deadline=deadline, state=attempts)

        await self._acknowledge(job, add)
        self._signals.emitted(self._declaration.name)

    async def add_many(self, link: Backend, routed: list[tuple[NewJob, BullQueue]]) -> dict[str, BaseException]:
        """Add jobs to their queues, in order; answers the failures by the job's id."""
        tracer = self._signals.tracer
        if tracer is None or not routed:
            return await self._add_many(link, routed)
        sending = tracer.sending(self._declaration.name, [job.id for job, _ in routed])
        metadata = propagation_metadata(sending.trace)
        traced = [(replace(job, metadata=metadata), queue) for job, queue in routed]
        try:
            failures = await self._add_many(link, traced)
        except BaseException as error:
            sending.end([error] * len(routed))
            raise
        sending.end(list(failures.values()))
        return failures

    async def _add_many(self, link: Backend, routed: list[tuple[NewJob, BullQueue]]) -> dict[str, BaseException]:
        by_queue: dict[BullQueue, list[NewJob]] = {}
        for job, queue in routed:
            by_queue.setdefault(queue, []).append(job)
        failures: dict[str, BaseException] = {}

        async def add(queue: BullQueue, batch: list[NewJob]) -> None:
            async def send(deadline: float, attempts: CallState) -> None:
                if self._declaration.shards > 1:
                    await link.shard_registry(self._declaration).announce()
                await queue.add_all(batch, deadline=deadline, state=attempts)

            try:
                await self._acknowledge(batch[0], send)
            except Exception as error:  # noqa: BLE001 - told to the caller with what was acknowledged
                failures.update(dict.fromkeys((job.id for job in batch), error))

        async def add_in_order(queue: BullQueue, batches: list[list[NewJob]]) -> None:
            for index, batch in enumerate(batches):
                await add(queue, batch)
                if (error := failures.get(batch[0].id)) is not None:
                    # What comes after it is not sent: it would be before it.
                    failures.update((job.id, error) for later in batches[index + 1 :] for job in later)
                    return

        each = [(queue, queue.batches(queued)) for queue, queued in by_queue.items()]
        if self._declaration.ordered:
            await asyncio.gather(*(add_in_order(queue, batches) for queue, batches in each))
        else:
            await asyncio.gather(*(add(queue, batch) for queue, batches in each for batch in batches))
        self._signals.emitted(self._declaration.name, len(routed) - len(failures))
        return failures

    def queue(self, link: Backend, job: NewJob, *, own_id: bool) -> BullQueue:
        """Where a job belongs; `own_id` says that the caller has chosen its id.

        Raises:
            UsageError: the event's key function failed.
        """
        declaration = self._declaration
        if declaration.shards == 1:
            return link.queue(declaration)
        return link.shard_router(declaration).queue(job, own_id=own_id)

    async def _acknowledge(self, job: NewJob, send: Callable[[float, CallState], Awaitable[None]]) -> None:
        """Send something within the herd's deadline, or raise an EmitError."""
        limit = self._limit
        attempts = CallState()
        cause: BaseException
        try:
            async with asyncio.timeout(limit):
                await send(time.monotonic() + limit, attempts)
        except Unconfirmed as error:
            raise self._not_durable(error, attempts.maybe_applied) from None
        except (RedisUnavailable, TimeoutError) as error:
            if attempts.unconfirmed is not None:
                raise self._not_durable(attempts.unconfirmed, attempts.maybe_applied) from None
            cause = error
        except ScriptError as error:
            cause = error
            self._fault("emit", error, job)
        else:
            return
        if isinstance(cause, TimeoutError) and attempts.last is not None:
            cause = attempts.last
        raise self._not_acknowledged(cause, limit, attempts.maybe_applied)

    def _not_acknowledged(self, cause: BaseException, limit: float, maybe_stored: bool) -> EmitError:
        why = str(cause) or f"no answer within {limit:g} s"
        hint = "it may be stored: emit it again with the same id" if maybe_stored else "it is not stored"
        return EmitError(
            f"{self._declaration.name} was not acknowledged ({why.rstrip('.')}); {hint}.", maybe_stored=maybe_stored
        )

    def _not_durable(self, error: Unconfirmed, maybe_stored: bool) -> NotDurable:
        name = self._declaration.name
        where = "is stored on the primary" if error.stored else "may be stored" if maybe_stored else "is not stored"
        if error.why:
            text = f"{name} cannot be made durable, and {where}: {error.why}."
        elif error.missing == "replicas":
            text = (
                f"{name} {where}, but {error.confirmed} of {error.wanted} replicas confirmed in time that they have "
                "what was written; see to the replicas, and emit it again with the same id."
            )
        else:
            text = (
                f"{name} {where}, but its disk did not confirm in time that it has what was written; "
                "see to the disk and appendfsync, and emit it again with the same id."
            )
        replicas = (error.confirmed, error.wanted) if error.missing == "replicas" else (0, 0)
        return NotDurable(text, missing=error.missing, replicas=replicas, maybe_stored=maybe_stored)

    def _fault(self, source: str, error: BaseException, job: NewJob | None = None) -> None:
        self._signals.emit(
            QueueFault(
                source=source,
                queue=self._declaration.queue,
                error=ErrorInfo(type(error).__name__, str(error)),
                event=self._declaration.name,
                event_id=job.id if job is not None else None,
            )
        )

    async def scheduled(self, call: Awaitable[S]) -> S:
        """A call about a schedule, its failure turned into an EmitError."""
        try:
            return await call
        except ScriptError as error:
            cause: Exception = error
            self._fault("schedule", error)
        except RedisUnavailable as error:
            cause = error
        raise EmitError(f"{self._declaration.name}: the schedule was not acknowledged ({str(cause).rstrip('.')}).")
