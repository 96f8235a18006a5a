"""Which schedules live workers declare, and whose hold: of those alive, the ones that were first seen last."""

from __future__ import annotations

from dataclasses import dataclass

from oxherd.bullmq.clock import bounded_ms
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.scripts import script
from oxherd.bullmq.worker_records import SILENCE_MS
from oxherd.redis.client import Client

# A version that comes back later is a new one.
_MEMORY_MS = 90 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Declared:
    """What one worker declares of an event: the digest of its schedules, empty for none, and their ids.

    `first_ms` is when this was first seen, as far as the worker knows, else 0.
    """

    event: str
    digest: str
    first_ms: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose schedules hold, by digest; `missing`: some of the worker's may not be stored."""

    first_ms: int
    holds: str
    missing: bool


async def declare(client: Client, keys: QueueKeys, declared: list[Declared]) -> list[Standing]:
    """Note what a live worker declares, and return how each stands. Script: declare_schedules.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    packed = pack([[each.event, each.digest, each.first_ms, each.ids] for each in declared])
    arguments = (keys.declared, keys.repeat, SILENCE_MS, _MEMORY_MS, packed)
    replies = await client.script(keys.slot, script("declare_schedules"), arguments)
    return [Standing(bounded_ms(float(first)), holds.decode(), missing > 0) for first, holds, missing in replies]


async def was_missed(client: Client, keys: QueueKeys, event: str, tick_ms: int) -> bool:
    """Whether no worker of the event was alive when a tick was due. Command: HMGET.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    since, beat = await client.call(keys.slot, "HMGET", keys.declared, f"since::{event}", f"beat::{event}")
    try:
        return not float(since or 0) <= tick_ms <= float(beat or 0) + SILENCE_MS
    except ValueError:
        return False
