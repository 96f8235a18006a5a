"""For how long a queue's limits let nothing begin."""

from __future__ import annotations

from dataclasses import dataclass

from oxherd.bullmq.queue import BullQueue


@dataclass(frozen=True, slots=True)
class Rests:
    """What a queue rests for, in milliseconds; 0 for what there is none of.

    Attributes:
        begun: how many have begun in the rate's window that is open.
        window_ms: until that window ends.
        rest_ms: until a rest ends that a handler has asked for (`RateLimited`), in this queue.
    """

    begun: int
    window_ms: int
    rest_ms: int


async def rests(queue: BullQueue) -> Rests:
    """What a queue rests for. Commands: GET, PTTL.

    Raises:
        RedisUnavailable, ScriptError: as `Client.call`.
    """
    k, call = queue.keys, queue.client.call
    begun: bytes | None = await call(k.slot, "GET", k.limiter)
    window: int = await call(k.slot, "PTTL", k.limiter)
    rest: int = await call(k.slot, "PTTL", k.rest)
    return Rests(int(begun) if begun is not None and begun.isdigit() else 0, max(0, window), max(0, rest))
