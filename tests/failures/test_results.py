"""Results through deaths, outages and failovers: each is right, none is missed, none hangs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import EventCancelled, Keep, Oxherd, RedisUnavailable, ResultGone
from oxherd.answers import event_reader
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import WorkerProcess, environment, until, until_sync

EACH = 5_000

APP = """
import asyncio
from pydantic import BaseModel
from oxherd import Oxherd

herd = Oxherd(prefix={prefix!r})

class Order(BaseModel):
    number: int
    square: int = 0

@herd.event("order.placed", concurrency=100, lock=1.5, shards={shards})
async def order_placed(order: Order) -> Order:
    await asyncio.sleep(0.005)
    return Order(number=order.number, square=order.number ** 2)
"""
PRODUCER = """
import asyncio, sys
from app import Order, herd, order_placed

async def main(first: int, count: int) -> None:
    async with herd:
        numbers = range(first, first + count)
        emitted = await order_placed.emit_many([Order(number=n) for n in numbers])
        waits = [asyncio.create_task(each.result(timeout=100)) for each in emitted]
        backend = await herd.backend()
        for each in emitted:  # until each wish is stored
            queue = (await backend.shard_router(order_placed.declaration).places(str(each.id)))[0]
            while not await queue.client.call(queue.keys.slot, "HEXISTS", queue.keys.job(str(each.id)), "ox:asked"):
                await asyncio.sleep(0.01)
        print("waiting", flush=True)
        results = await asyncio.gather(*waits)
        assert results == [Order(number=n, square=n * n) for n in numbers]
        print("right", flush=True)

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


class Order(BaseModel):
    number: int = 1


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, with an append-only file, to be broken."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


def write_app(folder: Path, prefix: str, shards: int = 1) -> None:
    (folder / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix, shards=shards))
    (folder / "producer.py").write_text(PRODUCER)


@pytest.mark.parametrize(("kind", "shards"), [("standalone", 1), ("cluster", 3)])
@pytest.mark.slow
def test_ten_thousand_are_awaited_by_two_processes_before_a_worker_starts_that_is_killed_midway(
    kind: str,
    shards: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    prefix: str,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    server = request.getfixturevalue(kind)
    url = server if isinstance(server, str) else server.url
    write_app(tmp_path, prefix, shards)
    producers = [
        subprocess.Popen(
            [sys.executable, "producer.py", str(first), str(EACH)],
            cwd=tmp_path,
            env=environment(OXHERD_URL=url),
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, EACH)
    ]
    try:
        assert [producer.stdout.readline() for producer in producers if producer.stdout] == ["waiting\n"] * 2
        worker = start_worker(url=url)
        until_sync(lambda: worker.count("event.end") > EACH // 2, 60)
        worker.signal(signal.SIGKILL)
        start_worker(url=url, log="second.jsonl")
        assert [producer.communicate(timeout=100)[0] for producer in producers] == ["right\n"] * 2
        assert [producer.returncode for producer in producers] == [0, 0]
    finally:
        for producer in producers:
            producer.kill()
            producer.wait()


async def test_those_that_ended_before_anybody_asked_are_told_of_by_the_event_stream(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> int:
        return order.number

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit_many([Order(number=n) for n in range(500)])
        queue = (await local_herd.backend()).queue(order_placed.declaration)

        async def drained() -> bool:
            return not any((await queue.counts()).values())

        await until(drained)
        began = time.monotonic()
        never = asyncio.create_task(order_placed.emitted(uuid4()).result())
        assert await asyncio.gather(*(each.result(timeout=10) for each in emitted)) == list(range(500))
        with pytest.raises(ResultGone):
            await never
        assert time.monotonic() - began < 3
        # Once the stream has forgotten, they are gone, at once.
        await queue.client.call(queue.keys.slot, "XTRIM", queue.keys.events, "MAXLEN", 0)
        with pytest.raises(ResultGone, match="nothing is stored"):
            await emitted[0].result()


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_results_are_awaited_through_an_outage(
    how: str, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", concurrency=5, lock=2)
    async def order_placed(order: Order) -> int:
        await asyncio.sleep(0.01)
        return order.number

    async with herd:
        emitted = await order_placed.emit_many([Order(number=n) for n in range(200)])
        waits = [asyncio.create_task(each.result(timeout=60)) for each in emitted]
        await herd.start()
        await until(lambda: sum(wait.done() for wait in waits) > 20)
        if how == "paused":
            server.pause()
            await asyncio.sleep(1)
            server.resume()
        else:
            server.kill()
            server.start()
        assert await asyncio.gather(*waits) == list(range(200))


@pytest.mark.parametrize("shards", [1, 3])
async def test_what_asks_a_server_that_hangs_gives_up_in_time(
    shards: int, server: StandaloneServer, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(server.url, emit_timeout=1)
    event = herd.declare("order.placed", Order, shards=shards, key=None if shards == 1 else lambda order: order.number)
    async with herd:
        emitted = await event.emit(Order())
        server.pause()
        try:
            began = time.monotonic()
            asked = (emitted.status(), emitted.cancel("too late"), event.workers(), herd.workers())
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert time.monotonic() - began < 3
        finally:
            server.resume()
        assert [type(answer) for answer in answers] == [RedisUnavailable] * 4
        await emitted.cancel("in time")
        with pytest.raises(EventCancelled):
            await emitted.result(timeout=20)


async def test_a_removed_job_ends_the_wait_for_it(local_herd: Oxherd) -> None:
    event = local_herd.declare("order.placed", Order)
    async with local_herd:
        emitted = await event.emit(Order())
        wait = asyncio.create_task(emitted.result(timeout=20))
        queue = (await local_herd.backend()).queue(event.declaration)
        job = queue.keys.job(str(emitted.id))
        await until(lambda: _is_asked(local_herd, job))
        # Without a word, as `obliterate` does.
        await queue.client.call(queue.keys.slot, "DEL", job, queue.keys.wait, queue.keys.events)
        with pytest.raises(ResultGone):
            await wait


async def test_however_many_wait_each_asks_again_before_its_answer_is_gone(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "_FEWEST_ASKED_AGAIN", 1)
    monkeypatch.setattr(event_reader, "_ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(event_reader, "_BLOCK_SECONDS", 0.01)
    herd = make_herd(server.url)
    event = herd.declare("order.placed", Order)
    async with herd:
        emitted = await event.emit_many([Order()] * 400)
        waits = [asyncio.create_task(each.result(timeout=60)) for each in emitted]
        queue = (await herd.backend()).queue(event.declaration)
        jobs = [queue.keys.job(str(each.id)) for each in emitted]
        await until(lambda: _is_asked(herd, jobs[-1]))
        await queue.client.call(queue.keys.slot, "CONFIG", "RESETSTAT")
        await queue.client.call(queue.keys.slot, "DEL", *jobs, queue.keys.wait, queue.keys.events)
        ends = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(end, ResultGone) for end in ends)
        stats = (await queue.client.call(queue.keys.slot, "INFO", "commandstats")).decode()
        reads = int(stats.partition("cmdstat_xread:calls=")[2].partition(",")[0])
        assert reads < 100, "the stream is read once for each time that some ask again"


async def _is_asked(herd: Oxherd, job: str) -> bool:
    return await (await herd.backend()).client.call(0, "HEXISTS", job, "ox:asked") == 1


@pytest.mark.slow
async def test_results_come_through_a_fail_over(make_herd: Callable[..., Oxherd]) -> None:
    with LocalCluster() as cluster:
        herd = make_herd(cluster.url)

        @herd.event("order.placed", concurrency=5, lock=2, keep=Keep(completed=None))
        async def order_placed(order: Order) -> int:
            await asyncio.sleep(0.02)
            return order.number

        async with herd:
            emitted = await order_placed.emit_many([Order(number=n) for n in range(300)], durable=True)
            waits = [asyncio.create_task(each.result(timeout=90)) for each in emitted]
            await herd.start()
            await until(lambda: sum(wait.done() for wait in waits) > 20)
            queue = (await herd.backend()).queue(order_placed.declaration)
            await asyncio.to_thread(cluster.primary_of(queue.keys.slot).kill)
            assert await asyncio.gather(*waits) == list(range(300))
