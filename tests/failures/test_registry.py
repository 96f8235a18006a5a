"""Workers that die, servers that go away: the registry says who is left, and nothing of the others stays in Redis."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from oxherd import Oxherd, RedisUnavailable, WorkerInfo
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.worker_records import SILENCE_MS
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until

APP = """
import time
from pathlib import Path
from oxherd import Oxherd

herd = Oxherd(prefix={prefix!r}, version="2.0")

@herd.event("order.placed", run_in="process")
def order_placed(order: dict[str, int]) -> None:
    while not Path("over").exists():
        time.sleep(0.01)
"""


class Order(BaseModel):
    number: int = 0


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, that forgets everything when it ends."""
    with StandaloneServer() as server:
        yield server


@pytest.fixture
def app(tmp_path: Path, prefix: str) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    return tmp_path


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["order.placed"].declaration)


async def registry_keys(herd: Oxherd) -> list[str]:
    return [key for key in await stored_keys(await queue_of(herd)) if key.startswith("worker")]


async def listed(herd: Oxherd, count: int, running: int = 0) -> list[WorkerInfo]:
    """The workers, if there are so many, that run so many events."""
    found = await herd.workers()
    return found if len(found) == count and sum(each.running_count for each in found) == running else []


@pytest.mark.slow
async def test_a_killed_worker_is_gone_within_its_bound_and_leaves_nothing(
    server: StandaloneServer,
    app: Path,
    start_worker: Callable[..., WorkerProcess],
    make_herd: Callable[..., Oxherd],
) -> None:
    worker = start_worker(url=server.url)
    async with make_herd(server.url) as herd:
        herd.declare("order.placed", dict[str, int])
        (info,) = await until(lambda: listed(herd, 1))
        assert info.pid == worker.process.pid
        worker.signal(signal.SIGKILL)
        worker.exit()
        killed = time.monotonic()
        assert await herd.workers(), "nobody knows yet"
        await until(lambda: listed_none(herd), deadline=SILENCE_MS / 1000 + 1)
        assert time.monotonic() - killed > SILENCE_MS / 1000 - 6
        assert await registry_keys(herd) == []


async def listed_none(herd: Oxherd) -> bool:
    return not await herd.workers()


async def test_each_process_is_a_worker_and_those_of_its_handlers_are_none(
    server: StandaloneServer,
    app: Path,
    start_worker: Callable[..., WorkerProcess],
    make_herd: Callable[..., Oxherd],
) -> None:
    worker = start_worker("--processes", "2", url=server.url)
    async with make_herd(server.url) as herd:
        event = herd.declare("order.placed", dict[str, int])
        emitted = await event.emit_many([{"number": 1}] * 4)
        workers = await until(lambda: listed(herd, 2, running=4), deadline=40)
        assert len({each.pid for each in workers}) == 2
        assert worker.process.pid not in {each.pid for each in workers}, "that one only supervises"
        assert {each.version for each in workers} == {"2.0"}
        assert {run.id for each in workers for run in each.running} == {each.id for each in emitted}
        (app / "over").touch()
        assert await asyncio.to_thread(worker.stop) == 0
        assert await herd.workers() == []
        assert await registry_keys(herd) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["restarted", "paused"])
async def test_a_worker_is_listed_again_after_an_outage_which_is_reported_once(
    how: str, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=0.5)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        (before,) = await until(lambda: listed(herd, 1))
        if how == "paused":
            server.pause()
            await records.wait("redis.error")
            server.resume()
        else:
            server.kill()
            await records.wait("redis.error")
            with pytest.raises(RedisUnavailable):
                await herd.workers()
            server.start()
        await records.wait("redis.recovered")
        (after,) = await until(lambda: listed(herd, 1))
        assert (after.id, after.since) == (before.id, before.since)
        await until(lambda: seen_after(herd, after))
        await herd.stop()
        assert await registry_keys(herd) == []
    assert len(records.named("redis.error")) == len(records.named("redis.recovered")) == 1
    assert not records.named("queue.error")


async def seen_after(herd: Oxherd, earlier: WorkerInfo) -> bool:
    return any(each.last_seen > earlier.last_seen for each in await herd.workers())


async def test_a_stop_while_the_server_is_away_does_not_wait_for_it(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await until(lambda: listed(herd, 1))
        server.kill()
        await records.wait("redis.error")
        began = time.monotonic()
        await herd.stop()
        assert time.monotonic() - began < 2
    assert not records.named("queue.error")


async def test_a_registry_is_reported_each_time_that_it_is_damaged_and_disturbs_nothing_else(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = await queue_of(herd)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.workers, "name", "a job of this id")
        await herd.start()
        (error,) = await records.wait("queue.error", source="registry")
        assert "WRONGTYPE" in error.error["message"]
        await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
        assert await herd.workers() == []
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.workers)
        await until(lambda: listed(herd, 1))
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.workers)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.workers, "name", "again")
        await herd.stop()
    assert len(records.named("queue.error", source="registry")) == len(records.named("queue.error")) == 2
    assert not records.named("redis.error")


async def test_a_full_server_keeps_its_list_of_workers(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await herd.start()
        (first,) = await until(lambda: listed(herd, 1))
        server.command("CONFIG", "SET", "maxmemory", "1")
        await until(lambda: seen_after(herd, first))
        server.command("CONFIG", "SET", "maxmemory", "0")


async def test_a_fail_over_of_the_cluster_is_followed(make_herd: Callable[..., Oxherd], records: Records) -> None:
    with LocalCluster() as own:
        herd = make_herd(own.url, emit_timeout=30)

        @herd.event("order.placed", shards=3)
        async def order_placed(order: Order) -> None: ...

        async with herd:
            await herd.start()
            (before,) = await until(lambda: listed(herd, 1))
            own.primary_of((await queue_of(herd)).keys.slot).kill()
            await until(lambda: seen_after(herd, before), deadline=40)
            (after,) = await herd.workers()
            assert (after.id, after.since) == (before.id, before.since)
            await herd.stop()
            assert await registry_keys(herd) == []
    assert not records.named("queue.error")
