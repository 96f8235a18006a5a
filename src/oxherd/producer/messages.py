"""Events that wait in an outbox: what is written of an emit there, and the job that is made of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError

from oxherd.bullmq.clock import LATEST_MS, now_ms
from oxherd.bullmq.job import NewJob
from oxherd.declaration import Declaration, check_priority, expires_to_ms
from oxherd.errors import UsageError
from oxherd.producer.emit_options import EmitManyOptions, with_keys

# A relay that dies between the add and its note of it leaves the message to others, who add it again.
ONCE_MS = 24 * 3600 * 1000
# One that has waited for so long is added with the time of its emit, which takes a script of its own.
_LATE_MS = 1_000


@dataclass(frozen=True, slots=True)
class StoredBackoff:
    """BullMQ's `backoff`, its delay in milliseconds."""

    type: Literal["exponential", "fixed"]
    delay: Annotated[int, Field(ge=0, le=LATEST_MS)]
    jitter: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class StoredRetry:
    """BullMQ's options of a Retry."""

    attempts: Annotated[int, Field(ge=1, le=LATEST_MS)]
    backoff: StoredBackoff


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """An emit's options, for an event that is added later; times in milliseconds, moments since the Unix epoch.

    Attributes:
        emitted_ms: when it was emitted; 0: when it is added.
        due_ms: the moment from which it may begin; 0: at once.
        expires_ms, once_ms, durable, retry: None: as declared.
        priority: as in an emit.
    """

    emitted_ms: int = 0
    due_ms: int = 0
    priority: int = 0
    expires_ms: int | None = None
    once_ms: int | None = None
    durable: bool | None = None
    retry: StoredRetry | None = None

    def to_json(self) -> str:
        """What is stored: what differs from the defaults."""
        return json.dumps({name: value for name, value in asdict(self).items() if value != getattr(NO_OPTIONS, name)})


NO_OPTIONS = RelayOptions()


@dataclass(frozen=True, slots=True)
class Message:
    """An event as an outbox keeps it; `data` is its payload's JSON as it is to be stored."""

    id: UUID
    event: str
    data: bytes
    metadata: str
    options: RelayOptions


def read_options(text: str) -> RelayOptions:
    """Read what `RelayOptions.to_json` has written.

    Raises:
        UsageError: it is something else, or the priority is none.
    """
    try:
        found = _stored_options().validate_json(text, strict=True)
    except ValidationError:
        found = None
    if found is None or any(isinstance(each, int) and not 0 <= each <= LATEST_MS for each in asdict(found).values()):
        raise UsageError("The options of an outbox's row cannot be read; emit the event again.") from None
    check_priority(found.priority)
    return found


@cache
def _stored_options() -> TypeAdapter[RelayOptions]:
    # For relays alone: not at the import, which every application waits for.
    return TypeAdapter(RelayOptions)


def message_of(declaration: Declaration, job: NewJob, given: EmitManyOptions) -> Message:
    """What an outbox keeps of an emit's job, and of the options that were given for it."""
    retry, declared = _retry_of(job.options), _retry_of(declaration.options)
    now, expires, once, durable = now_ms(), given.get("expires"), given.get("once"), given.get("durable")
    due_ms = (job.due_ms or now + job.delay_ms) if job.delay_ms else 0
    options = RelayOptions(
        emitted_ms=now,
        due_ms=due_ms,
        priority=job.priority,
        expires_ms=None if expires is None else expires_to_ms(job.name, expires),
        once_ms=None if once is None else job.once_ms,
        durable=None if durable is None else job.durable,
        retry=None if retry == declared else retry,
    )
    return Message(UUID(job.id), job.name, job.data, job.metadata, options)


def _retry_of(options: dict[str, Any]) -> StoredRetry:
    return StoredRetry(options["attempts"], StoredBackoff(**options["backoff"]))


def relayed_job(
    declaration: Declaration, event_id: str, data: bytes, metadata: str, options: RelayOptions = NO_OPTIONS
) -> NewJob:
    """The job of a message, which makes one event within a day, however often it is added.

    Raises:
        UsageError: a function of the event's key failed.
        InvalidPayload: the payload does not fit its type, which such a function is given.
    """
    once_ms = declaration.once_ms if options.once_ms is None else options.once_ms
    job = NewJob(
        event_id,
        declaration.name,
        data,
        declaration.options,
        priority=options.priority,
        once_ms=max(once_ms, ONCE_MS),
        durable=declaration.durable if options.durable is None else options.durable,
        metadata=metadata,
    )
    return job if options is NO_OPTIONS else _timed(declaration, with_keys(declaration, job), options)


def _timed(declaration: Declaration, job: NewJob, options: RelayOptions) -> NewJob:
    now = now_ms()
    waited = max(0, now - (options.emitted_ms or now))
    expires_ms = declaration.expires_ms if options.expires_ms is None else options.expires_ms
    changed: dict[str, Any] = {}
    if options.due_ms > now:
        changed |= {"delay_ms": options.due_ms - now, "due_ms": options.due_ms}
    if job.unique is not None or job.limit_key is not None:
        # Added with the time of the add, from which its expiry is counted then.
        expires_ms = max(1, expires_ms - waited) if expires_ms else 0
    elif waited > _LATE_MS or expires_ms:
        changed["emitted_ms"] = options.emitted_ms
    job_options = declaration.options_expiring(expires_ms)
    if options.retry is not None:
        job_options = job_options | asdict(options.retry)
    return replace(job, options=job_options, **changed)
