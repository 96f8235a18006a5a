"""A pause holds for Node's workers and is seen by its queues, and Node's holds here."""

from __future__ import annotations

import pytest

from oxherd import Oxherd
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


@pytest.fixture(params=["standalone", "redis7", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_nodes_idle_worker_begins_nothing_of_a_paused_event_and_begins_at_its_resume(
    herd: Oxherd, on_node: OnNode
) -> None:
    placed = herd.declare("order.placed", int)
    async with herd:
        script = on_node("""
            const heard = events();
            for (const kind of ["paused", "resumed"]) heard.on(kind, () => say({ heard: kind }));
            await heard.waitUntilReady();
            const it = worker(async (job) => { say({ began: job.data }); });
            await it.waitUntilReady();
            say({ ready: true });
            await done();
            say({ paused: await queue.isPaused() });
        """)
        await script.wait(lambda said: "ready" in said)
        await placed.emit(1)
        await script.wait(lambda said: said == {"began": 1})
        await placed.pause()
        await script.wait(lambda said: said == {"heard": "paused"})
        await placed.emit_many([2, 3])
        await placed.emit(4, delay=0.05)
        counts = on_node("say([await queue.isPaused(), await queue.getJobCounts('wait', 'paused')]); await done();")
        ((is_paused, _),) = await counts.end()
        assert is_paused
        assert {"began": 2} not in script.said
        await placed.resume()
        await script.wait(lambda said: "began" in said, count=4)
        assert (await script.end())[-1] == {"paused": False}


async def test_what_node_pauses_is_resumed_here_and_the_other_way_round(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def placed(order: int) -> None: ...

    async with herd:
        await on_node("await queue.pause(); await done();").end()
        await placed.emit(1)
        await herd.start()
        await records.wait("worker.paused")
        await placed.resume()
        await records.wait("event.end", outcome="completed")
        await placed.pause()
        await placed.emit(2)
        await on_node("await queue.resume(); await done();").end()
        await records.wait("event.end", count=2, outcome="completed")
