"""What the tests of limits per key share: what runs, by key, and what is left of it in Redis."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

from oxherd import Oxherd
from oxherd.bullmq.queue import BullQueue
from tests.harness import until


class Runs:
    """The runs of handlers in this process, by key."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.begun: list[tuple[str, int]] = []
        self.ended: list[tuple[str, int]] = []
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def run(self, order: tuple[str, int], seconds: float = 0.005) -> None:
        """Run for some time."""
        key, _ = order
        self.running[key] += 1
        self.most[key] = max(self.most[key], self.running[key])
        self.begun.append(order)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.running[key] -= 1
            self.ended.append(order)

    def of(self, key: str) -> list[int]:
        """The numbers that have begun of a key, in order."""
        return [number for each, number in self.begun if each == key]

    async def wait(self, count: int, deadline: float = 20) -> None:
        """Wait until so many have ended."""
        await until(lambda: len(self.ended) >= count, deadline)


async def queue_of(herd: Oxherd, name: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[name].declaration)


async def left_of_keys(queue: BullQueue) -> list[str]:
    """The keys of Redis that limits by key have left behind, but for counters, which expire."""
    k, client = queue.keys, queue.client
    left: list[str] = [key for key in (k.limited_keys, k.paused_keys) if await client.call(k.slot, "EXISTS", key)]
    node: Any = await client.call(k.slot, "EVAL", "return redis.call('KEYS', ARGV[1])", 1, k.meta, _glob(k.base))
    return left + [bytes(key).decode() for key in node if bytes(key).endswith((b":held", b":running"))]


def _glob(base: str) -> str:
    return base.replace("[", "\\[") + "key:*"
