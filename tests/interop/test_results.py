"""Results of events that Node emitted or processed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import EventFailed, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


class Order(BaseModel):
    order_id: int


class Receipt(BaseModel):
    total: int


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Node shares both kinds of servers with us."""
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_what_nodes_worker_ends_is_answered_from_the_stream_or_the_kept_job(
    herd: Oxherd, on_node: OnNode
) -> None:
    event = herd.declare("order.placed", Order, result=Receipt)
    async with herd:
        emitted = await event.emit_many([Order(order_id=n) for n in range(20)])
        waits = [asyncio.create_task(each.result(timeout=20)) for each in emitted[:10]]
        node = on_node("""
            worker(async (job) => {
              if (job.data.order_id % 5 === 4) throw new UnrecoverableError("no such order");
              return { total: job.data.order_id };
            });
            await done();
        """)
        results = await asyncio.gather(*waits, return_exceptions=True)
        results += await asyncio.gather(*(each.result(timeout=20) for each in emitted[10:]), return_exceptions=True)
        for number, result in enumerate(results):
            if number % 5 == 4:
                assert isinstance(result, EventFailed)
                assert (result.reason, result.outcome, result.error_type) == ("no such order", "failed", "")
            else:
                assert result == Receipt(total=number)
        await node.end()


async def test_a_job_that_node_added_is_asked_for_by_its_own_id(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> Receipt:
        return Receipt(total=order.order_id)

    async with herd:
        node = on_node("""
            const events_ = events();
            await events_.waitUntilReady();
            const job = await queue.add("order.placed", { order_id: 7 });
            say({ id: job.id });
            say({ result: await job.waitUntilFinished(events_) });
            await done();
        """)
        (said,) = await node.wait(has("id"))
        emitted = order_placed.emitted(said["id"])
        wait = asyncio.create_task(emitted.result(timeout=20))
        await until(lambda: is_asked(herd, said["id"]))
        await herd.start()
        assert await wait == Receipt(total=7)
        (ended,) = await records.wait("event.end", outcome="completed")
        assert ended.event_id == str(emitted.id)
        (said,) = await node.wait(has("result"))
        assert said["result"] == {"total": 7}


def has(word: str) -> Callable[[Any], bool]:
    """Whether a script said something under that key."""
    return lambda said: isinstance(said, dict) and word in said


async def is_asked(herd: Oxherd, job_id: str) -> bool:
    queue = (await herd.backend()).queue(herd["order.placed"].declaration)
    return await queue.client.call(queue.keys.slot, "HEXISTS", queue.keys.job(job_id), "ox:asked") == 1
