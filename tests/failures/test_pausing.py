"""A pause while servers are away and workers die; what it costs while it lasts."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Oxherd, OxherdError, RedisUnavailable
from oxherd.bullmq.pausing import inherit_pause, is_paused, set_paused
from oxherd.bullmq.shards import shard_queues
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from oxherd.worker.upkeep.watchdog import WatchdogTimes
from tests.harness import Records, WorkerProcess, until

LOCK = 1.0
APP = f"""
import asyncio
from oxherd import Oxherd

herd = Oxherd(prefix={{prefix!r}})

@herd.event("order.placed", lock={LOCK})
async def placed(number: int) -> None:
    await asyncio.sleep(60)
"""


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.fixture
def own_cluster() -> Iterator[LocalCluster]:
    """Three primaries of the test's own: each serves its slots also while another does not."""
    with LocalCluster(replicas=0, settings={"cluster-require-full-coverage": "no"}) as cluster:
        yield cluster


async def test_a_pause_is_retried_through_an_outage(server: StandaloneServer, make_herd: Callable[..., Oxherd]) -> None:
    herd = make_herd(server.url)
    placed = herd.declare("order.placed", int)
    async with herd:
        server.kill()
        pausing = asyncio.create_task(placed.pause())
        await until(lambda: herd.nodes() and not all(herd.nodes().values()))
        server.restart()
        await pausing
        assert await is_paused((await herd.backend()).queue(placed.declaration))


async def test_a_pause_that_reaches_some_shards_only_says_so_and_another_call_finishes_it(
    own_cluster: LocalCluster, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(own_cluster.url, emit_timeout=2)
    placed = herd.declare("order.placed", int, shards=3)
    async with herd:
        backend = await herd.backend()
        queues = [backend.queue_named(name) for name in shard_queues("order.placed", 3)]
        await placed.emit_many(range(9))
        lost = own_cluster.primary_of(queues[2].keys.meta)
        lost.pause()
        began = time.monotonic()
        with pytest.raises(
            RedisUnavailable, match=r"^order\.placed: it may be paused in part only \(.*\); call pause\(\)"
        ):
            await placed.pause()
        assert time.monotonic() - began < 3
        assert [await is_paused(queue) for queue in queues[:2]] == [True, True]
        lost.resume()
        await until(lambda: all(herd.nodes().values()))
        await placed.pause()
        assert await is_paused(queues[2])
        await placed.resume()
        assert not any([await is_paused(queue) for queue in queues])


async def test_a_server_that_is_away_for_good_is_an_error_within_the_deadline(
    make_herd: Callable[..., Oxherd],
) -> None:
    with StandaloneServer() as server:
        herd = make_herd(server.url, emit_timeout=0.5)
        placed = herd.declare("order.placed", int)
        async with herd:
            server.kill()
            with pytest.raises(RedisUnavailable, match=r"resumed in part only .*; call resume\(\) again\.$"):
                await placed.resume()


async def test_a_damaged_key_is_named(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int)
    async with local_herd:
        queue = (await local_herd.backend()).queue(placed.declaration)
        await queue.client.call(queue.keys.slot, "SET", queue.keys.meta, "damaged")
        with pytest.raises(
            OxherdError, match=r"paused in part only \(.*\); mend that key, and call pause\(\) again\.$"
        ):
            await placed.pause()


async def test_a_dead_workers_event_waits_for_the_resume(
    standalone: str,
    prefix: str,
    tmp_path: Path,
    local_herd: Oxherd,
    start_worker: Callable[..., WorkerProcess],
    records: Records,
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))

    @local_herd.event("order.placed", lock=LOCK)
    async def placed(number: int) -> None: ...

    worker = start_worker(url=standalone)
    async with local_herd:
        await placed.emit(1)
        await asyncio.to_thread(worker.wait, "event.begin")
        await placed.pause()
        await local_herd.start()
        worker.signal(signal.SIGKILL)
        await records.wait("queue.error", source="stalled")
        await asyncio.sleep(0.5)
        assert not records.named("event.begin")
        await placed.resume()
        await records.wait("event.end", outcome="completed", deadline=3)


async def test_a_paused_queue_costs_no_more_than_an_idle_one(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed", concurrency=4)
    async def placed(number: int) -> None: ...

    @herd.event("order.spread", shards=2)
    async def spread(number: int) -> None: ...

    async with herd:
        for event in (placed, spread):
            await event.pause()
            await event.emit_many(range(100))
            await event.emit(1, priority=1)
            await event.emit(1, delay=0.1)
        await herd.start()
        await records.wait("worker.paused", count=2)
        await asyncio.sleep(1)  # what is delayed comes due
        before = int(server.info("stats")["total_commands_processed"])
        await asyncio.sleep(4)
        # Pops, their fetches, heartbeats, stalled checks, and this very question: nothing that turns without waiting.
        assert int(server.info("stats")["total_commands_processed"]) - before < 100
        assert not records.named("event.begin")
        await placed.resume()
        await records.wait("event.end", count=102, event="order.placed", deadline=3)
        assert not records.named("queue.error")


@pytest.mark.slow
async def test_handlers_that_hang_on_a_paused_event_hold_up_nothing(local_herd: Oxherd, records: Records) -> None:
    let_go = asyncio.Event()
    local_herd._watchdog_times = WatchdogTimes(0.2, 1, 1)  # pyright: ignore[reportPrivateUsage]

    @local_herd.event("order.placed", concurrency=1)
    async def placed(number: int) -> None:
        await let_go.wait()

    async with local_herd:
        await local_herd.start()
        await placed.emit(1)
        await records.wait("event.begin")
        await placed.pause()
        await placed.emit(2)
        await asyncio.sleep(3)
        assert not records.named("queue.error")
        assert local_herd.health().stuck == []
        await placed.resume()
        await records.wait("queue.error", source="fetch")
        let_go.set()
        await records.wait("event.end", count=2)


async def test_a_shard_follows_an_event_that_is_resumed_while_it_inherits_the_pause(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int)
    async with local_herd:
        backend = await local_herd.backend()
        home, shard = (backend.queue_named(name) for name in shard_queues("order.placed", 2))
        for _ in range(50):
            await placed.pause()
            # This process does not know of the shard: only what the shard itself does decides.
            await asyncio.gather(inherit_pause(home, shard), placed.resume())
            assert await is_paused(shard) == await is_paused(home)
            await set_paused(shard, False)
