"""What a worker says of itself: its record, written as JSON, and read back without trusting it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard, cast
from uuid import UUID

from oxherd.bullmq.clock import LATEST_MS
from oxherd.declaration import is_name
from oxherd.policy import MAX_VERSION, is_short_text

# What a record has room for; its `running_count` counts on.
MAX_RUNNING = 100
_MAX_EVENTS = 1_000
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class Running:
    """An event whose handler runs; `since` is when this run of it began, by the worker's clock."""

    event: str
    id: UUID
    since: datetime


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that was alive within the last 20 seconds: one event loop of a process that processes a herd's events.

    Attributes:
        id: unique to the worker; BullMQ shows it as `processedBy`.
        version: the application's, as in `Oxherd(version=...)`.
        events: the names of the events that it processes, sorted.
        since: when it began to process the first of them, by its own clock.
        last_seen: its last heartbeat, by the server's clock.
        running: what it ran then, oldest first; the oldest 100 of each event. `running_count` counts all.
        clock_ahead: by how many seconds its clock was ahead of the server's then, less the heartbeat's way there; None
            where it does not say.
    """

    id: str
    host: str
    pid: int
    version: str | None
    events: tuple[str, ...]
    since: datetime
    last_seen: datetime
    running: tuple[Running, ...]
    running_count: int
    clock_ahead: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What a worker writes of itself, times in milliseconds since the Unix epoch; `running` has (event, id, since)."""

    id: str
    host: str
    pid: int
    version: str | None
    events: list[str]
    since_ms: int
    running: list[tuple[str, str, int]]
    running_count: int
    clock_ms: int = 0

    def to_json(self) -> bytes:
        """The stored form."""
        running = [{"event": event, "id": event_id, "since": since} for event, event_id, since in self.running]
        record = {
            "id": self.id,
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "events": self.events[:_MAX_EVENTS],
            "since": self.since_ms,
            "running": running[:MAX_RUNNING],
            "running_count": self.running_count,
            "clock": self.clock_ms,
        }
        return json.dumps(record, separators=(",", ":")).encode()


def parse(worker_id: bytes, seen_ms: bytes, record: bytes) -> WorkerInfo | None:
    """Read a worker's stored record, which any program may have written; None if it is malformed."""
    try:
        found = _fields(json.loads(record))
        member, seen = worker_id.decode(), _time(int(float(seen_ms)))
    except (ValueError, OverflowError, RecursionError):
        return None
    host, pid, version, since = found.get("host"), found.get("pid"), found.get("version"), _time(found.get("since"))
    count = found.get("running_count")
    if (
        found.get("id") != member
        or not is_short_text(member, 512)
        or not is_short_text(host, 255)
        or not _is_count(pid)
    ):
        return None
    if (
        seen is None
        or since is None
        or not _is_count(count)
        or not (version is None or is_short_text(version, MAX_VERSION))
    ):
        return None
    events = {name for name in _list(found.get("events"), _MAX_EVENTS) if isinstance(name, str) and is_name(name)}
    running = [run for item in _list(found.get("running"), MAX_RUNNING) if (run := _running(_fields(item))) is not None]
    clock = _time(found.get("clock") or None)
    ahead = None if clock is None else (clock - seen).total_seconds()
    return WorkerInfo(
        member, host, pid, version, tuple(sorted(events)), since, seen, _oldest_first(running), count, ahead
    )


def merged(found: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """One of each worker, which has a record in each of its queues, sorted by `since`."""
    by_id: dict[str, WorkerInfo] = {}
    for info in found:
        other = by_id.get(info.id)
        by_id[info.id] = info if other is None else _merge(other, info)
    return sorted(by_id.values(), key=lambda info: (info.since, info.id))


def _merge(one: WorkerInfo, other: WorkerInfo) -> WorkerInfo:
    return replace(
        one,
        events=tuple(sorted({*one.events, *other.events})),
        since=min(one.since, other.since),
        last_seen=max(one.last_seen, other.last_seen),
        running=_oldest_first([*one.running, *other.running]),
        running_count=one.running_count + other.running_count,
    )


def _oldest_first(running: Iterable[Running]) -> tuple[Running, ...]:
    return tuple(sorted(running, key=lambda run: run.since))


def _running(found: dict[str, Any]) -> Running | None:
    event, event_id, since = found.get("event"), found.get("id"), _time(found.get("since"))
    if not isinstance(event, str) or not is_name(event) or not isinstance(event_id, str) or since is None:
        return None
    try:
        return Running(event, UUID(event_id), since)
    except ValueError:
        return None


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _LARGEST


def _time(ms: Any) -> datetime | None:
    """A time in milliseconds since the Unix epoch; None for what is none."""
    return datetime.fromtimestamp(ms / 1000, UTC) if type(ms) is int and 0 <= ms <= LATEST_MS else None
