"""The getters of Node's Queue answer for what oxherd has emitted and processed as for Node's own jobs."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from oxherd import Cron, Keep, Oxherd, Retry
from oxherd.bullmq.inspection import stored_keys
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


class Order(BaseModel):
    order_id: int


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_nodes_getters_answer_as_for_nodes_own_jobs(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    go_on = asyncio.Event()

    @herd.event("order.placed", concurrency=1, keep=Keep(completed=10), retry=Retry(attempts=1))
    async def order_placed(order: Order) -> dict[str, int]:
        if order.order_id == 3:
            await go_on.wait()
        return {"receipt": order.order_id}

    async with herd:
        ids = [str((await order_placed.emit(Order(order_id=number))).id) for number in range(4)]
        await order_placed.schedule("nightly", Cron("0 2 * * *", tz="Europe/Paris"), Order(order_id=9))
        node = on_node(f"""
            const [first, last] = {[ids[0], ids[3]]!r};
            await (await queue.getJob(first)).log("noted by Node");
            say("noted");
            await done();
            const job = await queue.getJob(first);
            say({{
                workers: (await queue.getWorkers()).length,
                metrics: (await queue.getMetrics("completed")).meta.count,
                completed: (await queue.getJobs(["completed"], 0, -1, true)).map((job) => job.id),
                counts: await queue.getJobCounts(),
                states: [await job.getState(), await queue.getJobState(last)],
                schedulers: (await queue.getJobSchedulers()).map(({{ key, name, pattern }}) => [key, name, pattern]),
                logs: await queue.getJobLogs(first),
                returned: job.returnvalue,
                json: job.toJSON().data,
            }});
        """)
        await node.wait()
        await herd.start()
        await records.wait("event.begin", event_id=ids[3])
        await until(lambda: records.named("event.end", event_id=ids[2]))
        _, found = await node.end()
        go_on.set()
    assert found["completed"] == ids[:3]
    assert {state: count for state, count in found["counts"].items() if count} == {
        "completed": 3, "active": 1, "delayed": 1,
    }  # fmt: skip
    assert found["states"] == ["completed", "active"]
    assert found["schedulers"] == [["nightly", "order.placed", "0 2 * * *"]]
    assert found["logs"] == {"logs": ["noted by Node"], "count": 1}
    assert (found["workers"], found["metrics"]) == (1, 0)
    assert (found["returned"], found["json"]) == ({"receipt": 0}, {"order_id": 0})


async def test_what_node_has_logged_goes_with_its_job(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    node = on_node("""
        const job = await queue.add("order.placed", { order_id: 1 });
        await job.log("noted by Node");
    """)
    await node.end()
    async with herd:
        await herd.start()
        await records.wait("event.end", outcome="completed")
        queue = (await herd.backend()).queue(order_placed.declaration)
        assert not [key for key in await stored_keys(queue) if key.endswith(":logs")]
