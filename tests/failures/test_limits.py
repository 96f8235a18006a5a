"""Limits while workers die and servers are away."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Context, Limits, Oxherd, Rate, RateLimited, RedisUnavailable
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until

LOCK = 1.0
APP = f"""
import asyncio
from oxherd import Oxherd

herd = Oxherd(prefix={{prefix!r}})

@herd.event("order.placed", lock={LOCK}, max_running=2)
async def placed(number: int) -> None:
    await asyncio.sleep(60)
"""


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


async def test_a_dead_workers_share_comes_back_within_twice_its_lock(
    standalone: str,
    prefix: str,
    tmp_path: Path,
    local_herd: Oxherd,
    start_worker: Callable[..., WorkerProcess],
    records: Records,
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    running: set[int] = set()
    most = 0

    @local_herd.event("order.placed", lock=LOCK, max_running=2)
    async def placed(number: int) -> None:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        await asyncio.sleep(0.05)
        running.discard(number)

    worker = start_worker(url=standalone)
    async with local_herd:
        await placed.emit_many(range(10))
        await asyncio.to_thread(worker.wait, "event.begin", 2)
        await local_herd.start()
        await asyncio.sleep(1.5 * LOCK)  # it looks for what has stalled, and finds nothing
        assert not records.named("event.begin")
        worker.signal(signal.SIGKILL)
        killed = time.monotonic()
        await records.wait("event.begin", deadline=2 * LOCK + 1)
        assert time.monotonic() - killed < 2 * LOCK + 0.5
        await records.wait("event.end", count=10, outcome="completed")
    assert most == 2


async def test_a_start_in_an_outage_declares_its_limits_once_the_server_is_back(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", rate=Rate(3, per=60))
    async def placed(number: int) -> None: ...

    async with herd:
        await placed.emit_many(range(5))
        server.kill()
        await herd.start()
        await records.wait("redis.error")
        server.restart()
        await records.wait("event.end", count=3)
        assert await placed.limits() == Limits(Rate(3, per=60))
        await herd.stop()
    assert len(records.named("event.begin")) == 3


async def test_limits_are_set_and_an_event_rests_through_an_outage(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    away = asyncio.Event()

    @herd.event("order.placed", max_running=4)
    async def placed(number: int, ctx: Context) -> None:
        if ctx.fence == 1 and number == 0:
            await away.wait()
            raise RateLimited(0.5)

    async with herd:
        await herd.start()
        await placed.emit(0)
        await records.wait("event.begin")
        server.kill()
        setting = asyncio.create_task(placed.set_limits(max_running=1))
        away.set()
        await until(lambda: herd.nodes() and not all(herd.nodes().values()))
        server.restart()
        await setting
        assert await placed.limits() == Limits(max_running=1)
        await records.wait("event.end", outcome="completed")
        (rested, ended) = records.named("event.end")
        assert (vars(rested)["outcome"], vars(ended)["attempt"]) == ("retrying", 1)
        assert ended.created - rested.created >= 0.4


async def test_a_server_that_is_away_for_good_is_an_error_within_the_deadline(
    make_herd: Callable[..., Oxherd],
) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url, emit_timeout=0.5)
        placed = herd.declare("order.placed", int)
        async with herd:
            server.kill()
            with pytest.raises(
                RedisUnavailable, match=r"^order\.placed: its limits may not be set .*set_limits\(\) ag"
            ):
                await placed.set_limits(max_running=1)
            with pytest.raises(RedisUnavailable):
                await placed.limits()


async def test_an_idle_worker_of_a_limited_event_seldom_asks(local_herd: Oxherd, records: Records) -> None:
    """Also while it is emitted: each emit sets a marker, of which most tell nothing."""

    @local_herd.event("order.placed", rate=Rate(1, per=60))
    async def placed(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        await placed.emit(0)
        await records.wait("event.end")
        queue = (await local_herd.backend()).queue(placed.declaration)

        async def calls() -> int:
            stats = str(await queue.client.call(queue.keys.slot, "INFO", "commandstats"))
            found = stats.partition("cmdstat_evalsha:calls=")[2]
            return int(found.partition(",")[0])

        before = await calls()
        await asyncio.sleep(2)
        quiet = await calls() - before
        assert quiet <= 12, quiet  # lock renewal, cancel requests, heartbeat
        before = await calls()
        for number in range(200):
            await placed.emit(number)
            await asyncio.sleep(0.01)
        assert await calls() - before - 200 <= quiet + 20
