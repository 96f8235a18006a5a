"""Values that any program may have written into a queue's keys: they hold up neither the event loop nor the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from oxherd import Oxherd
from oxherd.redis.client import Argument
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.mark.parametrize(
    "command",
    [
        ("ZADD", "shards", "-inf", "most"),
        ("ZADD", "shards", "inf", "most"),
        ("ZADD", "delayed", "inf", "ghost"),
        ("ZADD", "delayed", "-inf", "ghost"),
        ("ZADD", "delayed", "1e300", "ghost"),
        ("ZADD", "marker", "inf", "x"),
        ("ZADD", "marker", "-inf", "x"),
        ("HSET", "meta", "max", "x", "duration", "x"),
        ("HSET", "meta", "max", "1", "duration", "0"),
    ],
    ids=lambda command: " ".join(command),
)
async def test_a_hostile_value_holds_nothing_up(
    command: tuple[str, ...], server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    latest = 0.0

    async def watch() -> None:
        nonlocal latest
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.01)
            latest = max(latest, time.perf_counter() - begun)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        name, key, *more = command
        await queue.client.call(queue.keys.slot, name, queue.keys.base + key, *more)
        watching = asyncio.create_task(watch())
        await herd.start()
        for order in range(3):
            await order_placed.emit(order)
        await records.wait("event.end", count=3, outcome="completed")
        before = calls(server)
        await asyncio.sleep(1)
        # An idle queue costs some calls in five seconds; with the shards, up to 160 of them come into service.
        assert calls(server) - before < (1_500 if key == "shards" else 50)
        watching.cancel()
    assert latest < 1
    assert not records.named("queue.error", source="fetch")


def calls(server: StandaloneServer) -> int:
    text = str(server.command("INFO", "commandstats"))
    lines = [line for line in text.splitlines() if "evalsha:calls=" in line or "bzpopmin:calls=" in line]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


@pytest.mark.parametrize("fails", [True, False])
async def test_a_job_that_ends_under_a_global_concurrency_wakes_an_idle_worker(
    fails: bool, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    go_on = asyncio.Event()

    def declared() -> Oxherd:
        herd = make_herd(standalone)

        @herd.event("order.placed")
        async def order_placed(order: int) -> None:
            if order == 1:
                await go_on.wait()
                if fails:
                    raise ValueError("tried again later")

        return herd

    busy, idle = declared(), declared()
    async with busy, idle:
        queue = (await busy.backend()).queue(busy["order.placed"].declaration)
        limit: tuple[Argument, ...] = ("HSET", queue.keys.meta, "concurrency", 1)
        await queue.client.call(queue.keys.slot, *limit)
        await busy["order.placed"].emit(1)
        await busy.start()
        await records.wait("event.begin")
        await idle.start()
        second = await busy["order.placed"].emit(2)
        await asyncio.sleep(0.5)  # the idle worker fetches in vain, and waits
        stopping = asyncio.create_task(busy.stop())
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        go_on.set()
        await records.wait("event.end", event_id=second.id, outcome="completed")
        assert time.monotonic() - begun < 2
        await stopping
