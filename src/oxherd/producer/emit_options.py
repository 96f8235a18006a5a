"""The options of an emit, and the jobs made from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from oxherd.bullmq.job import NewJob
from oxherd.context import propagation_metadata
from oxherd.declaration import Declaration, check_priority, limit_key_of, once_to_ms, unique_key_of
from oxherd.errors import UsageError
from oxherd.policy import Retry, Seconds, boolean
from oxherd.producer.emit_times import Times, times_of
from oxherd.uniqueness import Debounce, UniqueKey


class EmitManyOptions(TypedDict, total=False):
    """Options of `emit_many`.

    Attributes:
        delay: seconds (or a timedelta) before the events may run.
        at: the moment from which the events may run, a datetime with a time zone; at once if it is past.
        expires: seconds (or a timedelta) from the emit, after which an event that has not begun is dropped. None: as
            declared; 0: never.
        priority: 0 (none) is served first, then 1, 2, ... to 2,097,151.
        once: seconds (or a timedelta) for which an id makes no second event, even if the first has run and been
            removed; this covers the emit's own retries after a lost answer. None: as declared; 0: off.
        durable: wait until the server's replicas have the event (WAIT) or, without replicas, its disk (WAITAOF).
            None: as declared.
        retry: how often these are attempted, and the delays in between; one with `on`, `never`, `max_delay` or a
            function is refused: these stay the declaration's. None: as declared.
    """

    delay: Seconds | None
    at: datetime | None
    expires: Seconds | None
    priority: int
    once: Seconds | None
    durable: bool | None
    retry: Retry | None


class EmitOptions(EmitManyOptions, total=False):
    """Options of `emit`.

    Attributes:
        id: the event's UUID; default: a new one of version 7. While an event with this id is stored, emitting it
            again makes no second one.
    """

    id: UUID | None


def new_jobs(declaration: Declaration, events: Iterable[tuple[UUID, Any]], options: EmitManyOptions) -> list[NewJob]:
    """Validate options and payloads, and make a job of each (id, payload) pair.

    Raises:
        UsageError: an option or an id is invalid.
        InvalidPayload, PayloadTooLarge: a payload cannot be sent.
    """
    name, given = declaration.name, options.get
    priority, once, durable = given("priority", 0), given("once"), given("durable")
    delay_ms, due_ms, job_options = (
        times_of(declaration, given("delay"), given("at"), given("expires"))
        if options
        else Times(0, 0, declaration.options)
    )
    if priority or type(priority) is not int:
        check_priority(priority)
        if declaration.ordered:
            raise UsageError(f"{name}: an ordered event has no priorities; leave priority out.")
    if (retry := given("retry")) is not None:
        job_options = job_options | stored_retry(retry, name)
    once_ms = declaration.once_ms if once is None else once_to_ms(name, once)
    durable = declaration.durable if durable is None else boolean(durable, f"{name}: durable")
    encode, metadata = declaration.payload.encode, propagation_metadata()
    jobs: list[NewJob] = []
    for event_id, payload in events:
        if not isinstance(event_id, UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"{name}: id must be a uuid.UUID: make one of another id by uuid.uuid5(uuid.NAMESPACE_URL, other_id)."
            )
        data = encode(payload)
        job = NewJob(str(event_id), name, data, job_options, delay_ms, priority, once_ms, durable, metadata, due_ms)
        jobs.append(job)
    if declaration.unique is not None or declaration.limits.per_key is not None:
        jobs = [with_keys(declaration, job) for job in jobs]
    return jobs


def stored_retry(retry: Retry, name: str) -> dict[str, Any]:
    """BullMQ's options of a Retry that is stored with each job; `name` begins the error.

    Raises:
        UsageError: it is no Retry, or has what is not stored.
    """
    if not isinstance(retry, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{name}: retry must be a Retry(...).")
    in_job = Retry(retry.attempts, retry.delay, retry.backoff, jitter=retry.jitter)
    if retry != in_job or not isinstance(retry.backoff, str):
        raise UsageError(
            f"{name}: of a retry beside the declared one attempts, delay, backoff='exponential' or 'fixed' and jitter "
            "are stored; give on, never, max_delay and functions where the event is declared."
        )
    return retry.options


def _unique_key(declaration: Declaration, job: NewJob) -> UniqueKey | None:
    if job.delay_ms and isinstance(declaration.unique, Debounce):
        raise UsageError(f"{job.name}: its Debounce says when it is due; leave delay and at out.")
    return unique_key_of(declaration, _payload_of(declaration, job))


def _payload_of(declaration: Declaration, job: NewJob) -> Any:
    # As its handler will be given it, whatever the caller's object does.
    return declaration.payload.decode(declaration.payload.open(job.data))


def with_keys(declaration: Declaration, job: NewJob) -> NewJob:
    """The job with what it is unique and limited by, where its event is.

    Raises:
        UsageError: a function of its key failed, or it has a delay beside its event's Debounce.
    """
    if declaration.unique is not None:
        job = replace(job, unique=_unique_key(declaration, job))
    if declaration.limits.per_key is not None:
        job = replace(job, limit_key=limit_key_of(declaration, _payload_of(declaration, job)))
    return job
