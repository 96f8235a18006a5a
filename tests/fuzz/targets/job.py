"""A job's hash as any program may write it, and all that a worker does with it without Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

from oxherd.bullmq.job import FIELDS, Job, decode, event_id_text, job_of
from oxherd.bullmq.pack import pack
from oxherd.bullmq.queue import finish_options
from oxherd.bullmq.schedule_ticks import next_tick_ms
from oxherd.bullmq.schedulers import packed_tick
from oxherd.context import Context
from oxherd.errors import InvalidPayload, PayloadTooLarge, ScheduleError
from oxherd.privacy.redaction import Redactor
from oxherd.worker.job_options import attempts_of, failure_fields, keep_of, retry_delay_ms
from oxherd.worker.running.failure import describe_failure
from tests.fuzz.oracle import in_time, no_canary, only
from tests.fuzz.source import CORE, Source, as_bytes
from tests.fuzz.targets.payloads import CASES, NAMES, Case, Parcel

_TOP = ("attempts", "backoff", "removeOnComplete", "removeOnFail", "stackTraceLimit", "repeat", "fpof")
OPTIONS = (
    "attempts", "backoff", "type", "delay", "jitter", "exponential", "fixed", "removeOnComplete", "removeOnFail",
    "count", "age", "limit", "repeat", "pattern", "tz", "every", "endDate", "offset", "stackTraceLimit", "lifo",
    "fpof", "cpof", "idof", "rdof", "* * * * *", "Europe/Paris", "priority", "timestamp",
)  # fmt: skip
_MOST_INT = 2**53
_MASKED = ("email", "address", "who", "account", "phone")  # the masked fields of the types, by name


@in_time
def job(data: bytes) -> None:
    """Decode a hash, and ask all that the worker asks of it until its outcome is written."""
    source = Source(data, OPTIONS)
    case = source.choose(CASES)
    job = _decoded(source)
    _facts(job)
    _terms(job, case)
    _tick(job)


@in_time
def payload(data: bytes) -> None:
    """Read a payload by types of every kind, show it, write it again, and tell a failure that quotes it."""
    source = Source(data, NAMES)
    case = source.choose(CASES)
    _payload(as_bytes(source.json() if source.flag() else source.object()), case)


def _decoded(source: Source) -> Job:
    job_id = (
        source.raw()
        if source.flag()
        else as_bytes(source.choose(("repeat:nightly:1700000000000", "1", ""))) + (as_bytes(source.text()))
    )
    pairs = {name: value(source, name) for name in FIELDS if source.below(5)}
    if source.flag():
        return job_of(job_id, [pairs.get(name) for name in FIELDS], "token:1")
    flat = [part for name, value in pairs.items() for part in (name.encode(), value)]
    return decode(job_id, [*flat, *(source.raw() for _ in range(source.below(4)))], "token:1")


def value(source: Source, name: str) -> bytes:
    """What may stand in a field of a job's hash."""
    kind = source.below(4)
    if kind == 0:
        return source.raw()
    if name in ("timestamp", "atm", "ats", "stc", "priority"):
        return as_bytes(source.number())
    if name in ("opts", "data"):
        keys = _TOP if name == "opts" else NAMES
        return as_bytes(source.object(keys=keys) if kind < 3 else source.json())
    if name == "stacktrace":
        return as_bytes(source.json())
    return as_bytes(source.text())


def _facts(job: Job) -> None:
    """What is logged of a job, and given to its handler, can be."""
    event_id = event_id_text("{order.placed}", job.id)
    assert str(UUID(event_id)) == event_id
    assert min(job.attempts_made, job.fence, job.stalled) >= 0
    assert max(job.attempts_made, job.fence, job.stalled) < _MOST_INT
    for text in (job.id, job.name, job.deferred_failure or "", job.scheduler or "", job.damage or ""):
        text.encode()
    no_canary(job.damage or "", "what is wrong with a job")
    context = Context(event_id=event_id, event="order.placed", emitted_ms=job.timestamp_ms)
    assert isinstance(context.emitted_at, datetime)


def _terms(job: Job, case: Case) -> None:
    """The options that are sent to BullMQ's scripts can be, whatever the job brings."""
    for declaration in (case.declaration, None):
        attempts = attempts_of(job, declaration)
        assert 1 <= attempts < _MOST_INT
        assert 0 <= retry_delay_ms(job, declaration) < _MOST_INT
        for target in ("completed", "failed"):
            keep = keep_of(job, declaration, target)
            assert all(-_MOST_INT < value < _MOST_INT for value in keep.values()), keep
            finish_options(job, keep=keep, attempts=attempts, lock_ms=30_000)
    error = describe_failure(ValueError("no \ud800 text"), Redactor(job.data, None, frozenset()))
    fields = failure_fields(job, error, "failed")
    pack(fields)
    traces: list[Any] = json.loads(fields[3])
    assert all(isinstance(trace, str) for trace in traces)


def _tick(job: Job) -> None:
    """The next tick of a schedule is known, or it is said why there is none."""
    with only(ScheduleError, hides=()):  # a schedule is no payload, and is quoted
        upcoming = next_tick_ms(job)
        if upcoming is not None:
            assert isinstance(upcoming, int)
            packed_tick(job, upcoming)


def _payload(raw: bytes, case: Case) -> None:
    payload_type = case.declaration.payload
    with only(InvalidPayload, PayloadTooLarge):
        value = payload_type.decode(raw)
        raw.decode()
        _shown(value, raw, case)
        payload_type.decode(payload_type.encode(value))


def _shown(value: Any, raw: bytes, case: Case) -> None:
    """What the log shows is JSON without a secret, and a failure that quotes the payload holds none either."""
    shown = case.sanitizer.show(value)
    assert "\n" not in (shown.withheld or "")
    hidden, others = set(_texts(value, hidden=True)), "\0".join(_texts(value, hidden=False))
    for secret in (text for text in hidden if len(text) >= 8 and text not in others):
        assert shown.json is None or secret not in "\0".join(_texts(json.loads(shown.json), hidden=False))
    names = case.declaration.payload.field_names
    for text in [text for text in _texts(json.loads(raw), hidden=False) if CORE in text and len(text) < 4_000][:3]:
        told = describe_failure(ValueError(f"{text!r} was declined: {text}"), Redactor(raw, None, names))
        no_canary(f"{told.type} {told.message} {told.stack}", "a failure that quotes its payload")


def _texts(value: object, *, hidden: bool) -> Iterator[str]:
    """The strings of a value, in its secrets and masked fields, or outside of them."""
    pending: list[tuple[object, bool]] = [(value, False)]
    while pending:
        part, masked = pending.pop()
        if isinstance(part, SecretStr | SecretBytes):
            secret = part.get_secret_value()
            part, masked = secret if isinstance(secret, str) else secret.decode("utf-8", "replace"), True
        if isinstance(part, str):
            if masked == hidden:
                yield part
        elif isinstance(part, dict):
            pending += [(each, masked or key in _MASKED) for key, each in cast("dict[object, object]", part).items()]
        elif isinstance(part, list | tuple | set):
            pending += [(each, masked) for each in cast("list[object]", part)]
        elif isinstance(part, BaseModel | Parcel):
            pending.append((vars(part), masked))
