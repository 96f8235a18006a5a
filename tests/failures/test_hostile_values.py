"""Values that any program may have written into a queue's keys: they hold up neither the event loop nor the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from oxherd import Oxherd
from oxherd.bullmq.runs import runs_of
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
    assert latest < 3
    assert not records.named("queue.error", source="fetch")


def calls(server: StandaloneServer) -> int:
    text = str(server.command("INFO", "commandstats"))
    lines = [line for line in text.splitlines() if "evalsha:calls=" in line or "bzpopmin:calls=" in line]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


@pytest.mark.parametrize(
    ("worker", "runs", "kept"),
    [
        ("node " * 20, "", 1),
        ("\x01" * 300, "", 0),
        ('"' * 300, "", 0),
        ("n" * 100_000, "", 0),
        ("node\n", "\n" * 1_536, 1),
        ("node", "x" * 1_536, 1),
        ("node", "x" * 1_000_000, 1),
        ("node", '[1,1,"w",1,1,"retrying","",""]\n' * 12, 9),
    ],
    ids=range(8),
)
async def test_a_stalled_job_is_put_back_whatever_its_runs_and_its_worker_are_called(
    worker: str, runs: str, kept: int, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    async with make_herd(server.url) as herd:
        event = herd.declare("order.placed", int)
        emitted = await event.emit(1)
        queue = (await herd.backend()).queue(event.declaration)
        k = queue.keys
        job = k.job(str(emitted.id))
        commands: list[tuple[Argument, ...]] = [
            ("LMOVE", k.wait, k.active, "LEFT", "LEFT"),
            ("SADD", k.stalled, str(emitted.id)),
            ("HSET", job, "pb", worker, "processedOn", "1764482052123", "ats", "1", "ox:runs", runs),
        ]
        for name, *arguments in commands:
            await queue.client.call(k.slot, str(name), *arguments)
        stalled, _ = await queue.check_stalled(1, {}, 1, await queue.server_ms())
        assert stalled == [str(emitted.id)]
        stored: bytes = await queue.client.call(k.slot, "HGET", job, "ox:runs")
        found = runs_of(stored)
        assert len(found) == kept
        if kept:
            assert (found[-1].worker, found[-1].outcome, found[-1].ran_ms) == (worker, "lost", None)
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert story.state == "waiting"


@pytest.mark.parametrize(
    "fields",
    [("max", "5", "duration", "9" * 14), ("max", "9" * 18, "duration", "1000"), ("max", "1e300")],
    ids=range(3),
)
async def test_limits_that_nobody_can_have_set_are_told_as_none(fields: tuple[str, ...], local_herd: Oxherd) -> None:
    async with local_herd as herd:
        event = herd.declare("order.placed", int)
        queue = (await herd.backend()).queue(event.declaration)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.meta, *fields)
        (row,) = await herd.admin.events()
        assert row.limits.rate is None


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
