"""What a queue holds, in constant time; and the queues of a prefix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from oxherd.bullmq.clock import bounded_ms
from oxherd.bullmq.job_sets import number
from oxherd.bullmq.options import options_of
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.scripts import script
from oxherd.bullmq.worker_records import SILENCE_MS
from oxherd.errors import DeclarationError
from oxherd.limits import Limits, PerKey, Rate
from oxherd.redis.client import Client

_STEP: Final = 5_000
# What a queue may be called by ours or by Node's; a colon is in none.
_QUEUE: Final = re.compile(r"[A-Za-z0-9{][A-Za-z0-9._/{}@#+=-]{0,255}")
# As `per_key.per_key_fields` writes it.
_PER_KEY: Final = re.compile(rb"(\d{1,10})/(\d{1,10})/(\d{1,13})")


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The numbers of a queue's jobs; times are in milliseconds since the Unix epoch, 0 where there is none.

    `limited_until_ms`: until when nothing begins, for a spent rate or a rest. `oldest_ms` is when the next one to begin
    could have begun, of those without a priority.
    """

    server_ms: int
    paused: bool
    waiting: int
    running: int
    delayed: int
    waiting_children: int
    completed: int
    failed: int
    oldest_ms: int
    next_due_ms: int
    last_failed_ms: int
    schedules: int
    workers: int
    limits: Limits
    limited_until_ms: int


async def queue_counts(queue: BullQueue, event: str = "") -> QueueCounts:
    """What a queue holds, with an event's limits for each key. Script: overview.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    k = queue.keys
    reply: list[Any] = await queue.client.script(k.slot, script("overview"), (k.meta, k.base, SILENCE_MS, event))
    now, paused, wait, held, prioritized, active, delayed, children, completed, failed, *rest = reply
    emitted, raw_options, due, failed_at, schedules, workers, most, per_ms, running, per_key, resting_ms = rest
    emitted_ms = bounded_ms(number(emitted))
    return QueueCounts(
        int(now),
        bool(paused),
        wait + held + prioritized,
        active,
        delayed,
        children,
        completed,
        failed,
        emitted_ms + options_of(raw_options)[0].delay_ms if emitted_ms else 0,
        bounded_ms(number(due) // 0x1000),
        bounded_ms(number(failed_at)),
        schedules,
        workers,
        _limits(most, per_ms, running, per_key),
        int(now) + resting_ms if resting_ms else 0,
    )


def _limits(most: bytes, per_ms: bytes, running: bytes, per_key: bytes) -> Limits:
    """The limits in `meta`, which any program may have written; those that cannot be read hold nothing back."""
    each = None
    found = _PER_KEY.fullmatch(per_key)
    if found is not None:
        with suppress(DeclarationError):
            each = PerKey(int(found[1]) or None, _rate(found[2], found[3]))
    rate = None
    with suppress(DeclarationError):
        rate = _rate(most, per_ms)
    return Limits(rate, number(running) or None, each)


def _rate(most: bytes, per_ms: bytes) -> Rate | None:
    """The rate, None if there is none; raises DeclarationError where it is none that we would write."""
    return Rate(number(most), per=number(per_ms) / 1000) if number(most) and number(per_ms) else None


async def queue_names(client: Client, prefix: str) -> list[str]:
    """The names of the queues under a prefix, sorted; one that a queue would hardly have is left out.

    Commands: SCAN, on each primary, in steps of 5,000 keys; CLUSTER SLOTS on a cluster.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    head, tail = f"{prefix}:", ":meta"
    pattern = "".join(f"\\{char}" if char in "[]*?\\" else char for char in head) + "*" + tail
    found: set[str] = set()
    for slot in await primary_slots(client):
        cursor: bytes = b"0"
        while True:
            cursor, keys = await client.call(slot, "SCAN", cursor, "MATCH", pattern, "COUNT", _STEP)
            names = (key.decode("utf-8", "replace")[len(head) : -len(tail)] for key in keys)
            found.update(name for name in names if _QUEUE.fullmatch(name))
            if cursor == b"0":
                break
    return sorted(found)


def is_queue_name(name: object) -> bool:
    """Whether a queue may have this name."""
    return isinstance(name, str) and _QUEUE.fullmatch(name) is not None


async def primary_slots(client: Client) -> Sequence[int]:
    """A slot of each primary."""
    if client.url.topology != "cluster":
        return [0]
    ranges: list[Any] = await client.call(0, "CLUSTER", "SLOTS")
    return list({tuple(primary[:2]): first for first, _, primary, *_ in ranges}.values())
