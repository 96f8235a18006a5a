"""Node's `getWorkers` lists our workers, by the names of their waiting connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from oxherd import Oxherd
from oxherd.bullmq.shards import shard_queues
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.node_script import NodeScript, OnNode

pytestmark = pytest.mark.node

SERVERS = ["standalone", "redis7", "cluster"]
COUNT = "while (true) { say(await queue.getWorkersCount()); await new Promise((next) => setTimeout(next, 200)); }"


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def counted(script: NodeScript, expected: int) -> None:
    """Wait until Node counts so many workers from now on."""
    said = len(script.said)
    await until(lambda: expected in script.said[said:])


async def test_each_queue_of_a_worker_has_it_in_the_list(herd: Oxherd, on_node: OnNode, prefix: str) -> None:
    @herd.event("order.placed", shards=2)
    async def order_placed(order: int) -> None: ...

    @herd.event("mail", queue="{shared} ütf-8")
    async def mail(order: int) -> None: ...

    queues = [*shard_queues("order.placed", 2), "{shared} ütf-8"]
    scripts = [on_node(COUNT, queue) for queue in queues]
    for script in scripts:
        await counted(script, 0)
    async with herd:
        await herd.start()
        for script in scripts:
            await counted(script, 1)
    for script in scripts:
        await counted(script, 0)


async def test_a_worker_is_listed_while_it_is_busy_and_after_its_connections_were_cut(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    go_on = asyncio.Event()

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: int) -> None:
        await go_on.wait()

    async with herd:
        for order in range(2):
            await order_placed.emit(order)
        await herd.start()
        await records.wait("event.begin")
        script = on_node(COUNT)
        await counted(script, 1)
        backend = await herd.backend()
        queue = backend.queue(order_placed.declaration)
        (worker,) = await herd.workers()
        name = queue.keys.worker_connection(worker.id)
        clients = (await queue.client.call(queue.keys.slot, "CLIENT", "LIST")).decode().splitlines()
        (ours,) = [line for line in clients if f" name={name} " in line]
        await queue.client.call(queue.keys.slot, "CLIENT", "KILL", "ID", ours.partition(" ")[0].removeprefix("id="))
        await counted(script, 0)
        await counted(script, 1)
        go_on.set()
        await records.wait("event.end", count=2, outcome="completed")
        await counted(script, 1)
        await order_placed.emit(3)
        await records.wait("event.end", count=3, outcome="completed")


@pytest.mark.parametrize("prefix", ["with space", "ümlaut"])
async def test_a_prefix_that_no_connection_can_be_named_after_is_served_all_the_same(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone)

    @herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit(1)
        await records.wait("event.end", outcome="completed")


async def test_node_counts_and_obliterates_a_queue_that_has_a_registry(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    async with herd:
        await herd.start()
        await order_placed.emit(1)
        await records.wait("event.end", outcome="completed")
        (worker,) = await until(herd.workers)
        script = on_node(
            "await queue.pause(); await queue.add('order.placed', 7, {delay: 60000});"
            "say([await queue.getJobCounts(), (await queue.getWorkers()).length]);"
            "await queue.obliterate({ force: true }); say(await queue.getJobCounts()); await done();"
        )
        (before, workers), after = await script.end()
        assert (before["delayed"], workers) == (1, 1)
        assert not any(after.values())
        # Which does not know the registry: it stays, and expires with the worker.
        assert [each.id for each in await herd.workers()] == [worker.id]
        await order_placed.emit(2)
        await records.wait("event.end", count=2, outcome="completed")
