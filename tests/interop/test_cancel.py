"""Node's jobs cancelled by us; runs of Node's worker are not reached; Node's listeners hear what they know."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oxherd import EventCancelled, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node

WHY = "customer called"


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_a_job_that_node_added_is_removed_and_its_listeners_hear_of_it_once(
    herd: Oxherd, on_node: OnNode
) -> None:
    order_placed = herd.declare("order.placed", int)
    node = on_node("""
        const heard = events();
        heard.on("removed", ({ jobId, prev }) => say({ removed: jobId, prev }));
        await heard.waitUntilReady();
        await queue.add("order.placed", 1, { jobId: "a" });
        await queue.add("order.placed", 2, { jobId: "b", delay: 60000 });
        await queue.add("order.placed", 3, { jobId: "c", priority: 7, deduplication: { id: "customer-7" } });
        say("added");
        await done();
        await queue.add("order.placed", 4, { jobId: "d", deduplication: { id: "customer-7" } });
        say({ counts: await queue.getJobCounts() });
    """)
    async with herd:
        await node.wait(lambda said: said == "added")
        for job_id in "abc":
            assert await order_placed.emitted(job_id).cancel(WHY)
            with pytest.raises(EventCancelled, match=WHY):
                await order_placed.emitted(job_id).result(timeout=10)
        await node.wait(lambda said: isinstance(said, dict) and "removed" in said, count=3)
        said = await node.end()
    assert [each["removed"] for each in said if "removed" in each] == ["a", "b", "c"]
    (counts,) = [each["counts"] for each in said if "counts" in each]
    assert (counts["waiting"], counts["delayed"], counts["prioritized"]) == (1, 0, 0), "its deduplication ended with it"


async def test_a_run_of_nodes_worker_is_not_reached_and_nothing_breaks(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: int) -> int:
        return order

    node = on_node("""
        worker(async (job) => { say("begun"); await done(); return job.data; });
        await done();
    """)
    async with herd:
        emitted = await order_placed.emit(1)
        await node.wait(lambda said: said == "begun")
        assert await emitted.cancel(WHY) is True
        waiting: asyncio.Task[Any] = asyncio.create_task(emitted.result(timeout=10))
        await asyncio.sleep(0)
        await node.end()
        assert await waiting == 1
        assert await emitted.cancel() is False
        # A worker of ours forgets the request as soon as it runs anything.
        queue = (await herd.backend()).queue(order_placed.declaration)
        assert await queue.client.call(queue.keys.slot, "SMEMBERS", queue.keys.cancels) == [str(emitted.id).encode()]


async def test_nodes_retry_of_a_cancelled_job_runs_it(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    runs = 0

    @herd.event("order.placed")
    async def order_placed(order: int) -> str:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(60)
        return "done"

    async with herd:
        await order_placed.start()
        emitted = await order_placed.emit(1)
        await records.wait("event.begin")
        assert await emitted.cancel(WHY)
        await records.wait("event.end", outcome="cancelled")
        node = on_node("""
            const [job] = await queue.getFailed();
            say(job.failedReason);
            await job.retry("failed");
        """)
        said = await node.end()
        assert said == [f"the event was cancelled: {WHY}"]
        assert await emitted.result(timeout=10) == "done"
