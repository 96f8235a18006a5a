"""A job as it is added, and as a worker receives it: decoded without raising, since any program may have written it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from oxherd.bullmq.clock import LATEST_MS, bounded_ms
from oxherd.bullmq.options import JobOptions, options_of
from oxherd.lineage import NO_LINEAGE, Lineage
from oxherd.uniqueness import UniqueKey

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# As HINCRBY accepts it; more digits than any count of attempts.
_COUNTER = re.compile(rb"0|-?[1-9][0-9]{0,14}")
_COUNTS: dict[bytes | None, int] = {None: 0, **{b"%d" % count: count for count in range(100)}}
# The failure that BullMQ's check for stalled jobs leaves in a job.
STALLED_REASON = "job stalled more than allowable limit"


@dataclass(slots=True)
class Job:
    """A job that has begun: its fields, and the token of its lock.

    `stalled` are the stalls that count, `uncounted_stalls` those beside other jobs. `damage` says what is wrong with
    it, `unusable` that BullMQ's scripts fail on it; ours take its `raw_id`. `written_options` include the lineage.
    `forgets_parent`: it ends without notifying its parent. `ran`: one that expires has begun before (`expiry.py`).
    `cancel_reason`: why it is to be cancelled, if it is. `limit_key`: what its limits go by, where it was fetched
    alone (`limits.limit_key`); "": nothing. `runs`: its earlier runs (`runs.py`).
    """

    id: str
    token: str
    name: str
    data: bytes
    options: JobOptions
    timestamp_ms: int
    attempts_made: int
    fence: int
    stalled: int
    deferred_failure: str | None
    scheduler: str | None
    stacktrace: bytes = b""
    damage: str | None = None
    unusable: bool = False
    raw_id: bytes = b""
    lineage: Lineage = NO_LINEAGE
    written_options: bytes = b""
    uncounted_stalls: int = 0
    forgets_parent: bool = False
    ran: bool = False
    cancel_reason: str | None = None
    runs: bytes = b""
    limit_key: str = ""

    @property
    def due_ms(self) -> int:
        """The earliest time of its begin by its producer's clock, in milliseconds since the Unix epoch; 0: unknown."""
        return self.timestamp_ms + self.options.delay_ms if self.timestamp_ms else 0

    @property
    def expires_at_ms(self) -> int:
        """When it is too late to begin it for the first time, by its producer's clock; 0: never.

        Counted from its emit; a schedule's tick is counted from when it is due.
        """
        since = self.timestamp_ms if self.scheduler is None else self.due_ms
        return since + self.options.expires_ms if since and self.options.expires_ms else 0

    @property
    def has_begun(self) -> bool:
        """Whether one that expires has begun before this fetch."""
        return self.ran or self.attempts_made > 0


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be added: `options` are BullMQ's, shared by an event's jobs; `data` is JSON.

    `once_ms`: for how long its id adds no second job. `durable`: it counts as added once the replicas or the disk have
    it. `metadata` is BullMQ's telemetry metadata, the option that each job has to itself. `due_ms`: the moment, in
    milliseconds since the Unix epoch, that `delay_ms` has been counted to; 0 if none was given. `unique`: with which
    other jobs it makes one. `limit_key`: what its limits go by, "" for nothing; None if its event has none by key.
    `emitted_ms`: when it was emitted, if that is not now; it is then not added in a batch.
    """

    id: str
    name: str
    data: bytes
    options: dict[str, Any]
    delay_ms: int = 0
    priority: int = 0
    once_ms: int = 0
    durable: bool = False
    metadata: str = ""
    due_ms: int = 0
    unique: UniqueKey | None = None
    limit_key: str | None = None
    emitted_ms: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it may go in a batch: it waits at once, in the order of the emits."""
        return not self.delay_ms and not self.priority and not self.emitted_ms

    @property
    def by_key(self) -> bool:
        """Whether a key says what becomes of it."""
        return self.unique is not None or self.limit_key is not None


# The fields of a job that a worker reads, in the order of `job_of`.
FIELDS = (
    "name", "data", "opts", "timestamp", "atm", "ats", "stc", "defa", "rjk", "stacktrace", "ox:uncounted", "priority",
    "ox:ran", "ox:cancel", "ox:runs",
)  # fmt: skip
_FIELDS = tuple(name.encode() for name in FIELDS)
_NO_VALUES: list[bytes | None] = [None] * len(FIELDS)


def decode(job_id: bytes, fields: list[bytes], token: str) -> Job:
    """Decode a job from its hash, a flat list of fields and values; `damage` says what is missing or wrong."""
    get = dict(zip(fields[::2], fields[1::2], strict=False)).get
    job = job_of(job_id, [get(name) for name in _FIELDS], token)
    limit_key = get(b"ox:key")
    if limit_key is not None:
        job.limit_key = _text(limit_key)
    return job


def job_of(job_id: bytes, values: list[bytes | None], token: str) -> Job:
    """Decode a job from the values of FIELDS, empty if its key holds no hash; `damage` says what is wrong."""
    unusable = None if values else "its key holds no hash"
    (
        name, data, options, timestamp, made, fence, stalled, deferred, scheduler, stacktrace, uncounted, priority,
        ran, cancel, runs,
    ) = values or _NO_VALUES  # fmt: skip
    damage = None if name is not None and data is not None else "its name or data is missing"
    try:
        emitted_ms = int(timestamp or 0)
    except ValueError:
        emitted_ms = 0
        damage = damage or "its timestamp is not a number"
    raw_counts = made, fence, stalled, uncounted, priority
    counts = tuple(map(_COUNTS.get, raw_counts))
    if None in counts:
        counts = tuple(map(_count, raw_counts))
        if None in counts[:3]:
            unusable = unusable or "a counter is not a number"
        if counts[4] is None:
            unusable = unusable or "its priority is not a whole number"
    try:
        text = job_id.decode()
    except UnicodeDecodeError:
        text = _text(job_id)
        unusable = unusable or "its id is not UTF-8"
    parsed, lineage = options_of(options or b"")
    return Job(
        text,
        token,
        _text(name or b""),
        data or b"",
        parsed,
        emitted_ms if 0 <= emitted_ms <= LATEST_MS else bounded_ms(emitted_ms),
        counts[0] or 0,
        counts[1] or 0,
        counts[2] or 0,
        _text(deferred) if deferred else None,
        _text(scheduler) if scheduler else None,
        stacktrace or b"",
        unusable or damage,
        unusable is not None,
        job_id,
        lineage,
        options or b"",
        counts[3] or 0,
        False,
        ran is not None,
        cancel_reason=None if cancel is None else _text(cancel),
        runs=runs or b"",
    )


def _count(raw: bytes | None) -> int | None:
    """A counter, 0 if it is missing or negative; None if it is damaged."""
    known = _COUNTS.get(raw)
    if known is not None or raw is None:
        return known
    return max(0, int(raw)) if _COUNTER.fullmatch(raw) else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def worker_of(token: str) -> str:
    """The worker of a lock token, BullMQ's `processedBy`: what stands before the last colon."""
    return token.rpartition(":")[0]


def is_event_id(job_id: str) -> bool:
    """Whether a job's id is an event's UUID, as we write it."""
    return _UUID.fullmatch(job_id) is not None


def event_id_text(queue: str, job_id: str) -> str:
    """The UUID of a job: its id if that is one, else derived (version 5) from queue and id."""
    if _UUID.fullmatch(job_id):
        return job_id
    if len(job_id) == 36:
        with suppress(ValueError):
            return str(UUID(job_id))
    return str(uuid5(NAMESPACE_URL, f"oxherd:{queue}:{job_id}"))
