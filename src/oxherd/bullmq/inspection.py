"""Inspects a server and its queues without changing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import decode
from oxherd.bullmq.pausing import is_paused
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import ScheduleError
from oxherd.redis.client import Client, ScriptError
from oxherd.schedule.cron import Cron


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server's properties; `slots`, covered ones, is None without a cluster, `eviction` if unknown."""

    software: str
    version: tuple[int, ...]
    eviction: str | None
    slots: int | None


async def server_facts(client: Client) -> ServerFacts:
    """Look up a server's properties. Commands: INFO, CLUSTER SLOTS.

    Raises:
        RedisUnavailable: it cannot be reached.
        ScriptError: it refuses these commands.
    """
    text = _text(await client.call(0, "INFO"))
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    is_valkey = "valkey_version" in info
    version = info.get("valkey_version" if is_valkey else "redis_version", "0")
    slots = None
    if client.url.topology == "cluster":
        ranges: list[Any] = await client.call(0, "CLUSTER", "SLOTS")
        slots = sum(last - first + 1 for first, last, *_ in ranges)
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return ServerFacts("Valkey" if is_valkey else "Redis", numbers, info.get("maxmemory_policy"), slots)


async def stored_schedules(queue: BullQueue) -> list[tuple[str, str | None]]:
    """The names of a queue's schedules, each with what is wrong with it or None. Commands: ZRANGE, HMGET."""
    k = queue.keys
    found: list[tuple[str, str | None]] = []
    try:
        for name in await queue.client.call(k.slot, "ZRANGE", k.repeat, 0, -1):
            pattern, tz = await queue.client.call(k.slot, "HMGET", k.repeat.encode() + b":" + name, "pattern", "tz")
            found.append((_text(name), _schedule_error(pattern, tz)))
    except ScriptError as error:
        found.append(("", str(error)))
    return found


def _schedule_error(pattern: bytes | None, tz: bytes | None) -> str | None:
    try:
        if pattern is not None:
            Cron(_text(pattern), _text(tz) if tz else "UTC")
    except ScheduleError as error:
        return str(error)
    return None


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "backslashreplace")


async def stored_states(queue: BullQueue) -> dict[str, str]:
    """The state of every stored job, by id. Commands: LRANGE, ZRANGE."""
    k = queue.keys
    found: dict[str, str] = {}
    for state in ("completed", "failed", "delayed", "prioritized", "wait", "active"):
        command = "LRANGE" if state in ("wait", "active") else "ZRANGE"
        for job_id in await queue.client.call(k.slot, command, k.base + state, 0, -1):
            found[_text(job_id)] = state
    return found


@dataclass(frozen=True, slots=True)
class Backlog:
    """The numbers of waiting and delayed events.

    `oldest_ms` is when the oldest waiting one could have begun, in milliseconds since the Unix epoch; None if none
    waits, or the time is unknown.
    """

    waiting: int
    delayed: int
    oldest_ms: int | None


async def backlog(queue: BullQueue) -> Backlog:
    """A queue's backlog. Script: getCounts; commands: LINDEX, HMGET.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    counts = await queue.counts()
    oldest = None
    if counts["wait"]:
        k, client = queue.keys, queue.client
        # New jobs are pushed at the head.
        job_id: bytes | None = await client.call(k.slot, "LINDEX", k.wait, -1)
        if job_id is not None:
            emitted, options = await client.call(k.slot, "HMGET", k.base.encode() + job_id, "timestamp", "opts")
            job = decode(job_id, [b"timestamp", emitted or b"", b"opts", options or b""], "")
            oldest = job.due_ms or None
    return Backlog(counts["wait"] + counts["prioritized"] + counts["paused"], counts["delayed"], oldest)


def total(backlogs: Iterable[Backlog]) -> Backlog:
    """The sum of several queues' backlogs."""
    each = list(backlogs)
    oldest = [backlog.oldest_ms for backlog in each if backlog.oldest_ms is not None]
    return Backlog(sum(b.waiting for b in each), sum(b.delayed for b in each), min(oldest, default=None))


async def has_due(queue: BullQueue) -> bool:
    """Whether a job waits, or is delayed and due, on a queue that is not paused.

    Script: getCounts; commands: HMGET, ZRANGE.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    counts = await queue.counts()
    if counts["wait"] or counts["prioritized"]:
        return not await is_paused(queue)
    if not counts["delayed"] or await is_paused(queue):
        return False
    first: list[Any] = await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.delayed, 0, 0, "WITHSCORES")
    # The time is in the score's upper bits.
    return bool(first) and float(first[1]) / 0x1000 < now_ms()


async def stored_keys(queue: BullQueue) -> list[str]:
    """A queue's keys without its prefix, sorted. Command: SCAN, on the queue's node."""
    base = queue.keys.base
    pattern = "".join(f"\\{char}" if char in "[]*?\\" else char for char in base) + "*"
    found: set[str] = set()
    cursor = b"0"
    while True:
        cursor, keys = await queue.client.call(queue.keys.slot, "SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found.update(_text(key)[len(base) :] for key in keys)
        if cursor == b"0":
            return sorted(found)
