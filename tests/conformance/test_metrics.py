"""BullMQ's metrics of a queue go on being collected where a worker of Node's has begun to."""

from __future__ import annotations

import time

import pytest

from oxherd import Discard, Oxherd
from oxherd.redis.client import Argument
from tests.harness import Records

MINUTE_MS = 60_000


@pytest.fixture
def url(standalone: str) -> str:
    return standalone


@pytest.mark.parametrize("how", ["batched", "bullmq"])
async def test_metrics_count_what_ends_here_once_a_worker_of_nodes_collects_them(
    how: str, herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> None:
        if order % 2:
            raise Discard("as always")

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        call, slot, key = queue.client.call, queue.keys.slot, queue.keys.base + "metrics:"
        await herd.start()
        await order_placed.emit_many([0, 1])
        await records.wait("event.end", count=2)
        assert await call(slot, "EXISTS", key + "completed") == 0
        before = int(time.time() * 1000) - 2 * MINUTE_MS
        for target in ("completed", "failed"):
            await call(slot, "HSET", key + target, "count", 5, "prevTS", before, "prevCount", 0)
            await call(slot, "RPUSH", f"{key}{target}:data", 3)
        await order_placed.emit_many(list(range(20)))
        await records.wait("event.end", count=22)
        for target in ("completed", "failed"):
            assert await call(slot, "HGET", key + target, "count") == b"15"
            assert (await call(slot, "LRANGE", f"{key}{target}:data", 0, -1))[-1] == b"3"


@pytest.mark.parametrize(
    "damage",
    [
        ("SET", "metrics:completed", "x"),
        ("HSET", "metrics:completed", "count", "x"),
        ("HSET", "metrics:completed", "x", 1),
        ("HSET", "metrics:completed", "count", 1, "prevTS", 1),
        ("HSET", "metrics:completed", "count", 1, "prevTS", "nan"),
        ("SET", "metrics:completed:data", "x"),
    ],
    ids=str,
)
async def test_damaged_metrics_keep_nothing_from_ending(
    damage: tuple[Argument, ...], herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        command, key, *more = damage
        await queue.client.call(queue.keys.slot, command, f"{queue.keys.base}{key}", *more)
        await herd.start()
        await order_placed.emit_many(list(range(5)))
        await records.wait("event.end", count=5, outcome="completed")
    assert not records.named("queue.error")
