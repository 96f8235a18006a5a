"""Limits by key beside Node: what it emits has them, and its boards count and remove what a key holds back."""

from __future__ import annotations

import pytest

from oxherd import Oxherd, PerKey
from oxherd.servers.local_cluster import LocalCluster
from tests.conformance.key_runs import Runs, queue_of
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node
Order = tuple[str, int]


@pytest.fixture(params=["standalone", "redis7", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def delayed(herd: Oxherd, count: int) -> bool:
    counts = await (await queue_of(herd)).counts()
    return counts["delayed"] == count and not counts["wait"]


async def test_what_node_emits_has_the_limits_of_its_key_at_no_attempt(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    runs = Runs()

    @herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with herd:
        await on_node("""
            for (let i = 0; i < 10; i++) await queue.add("order.placed", ["a", i]);
            await queue.add("order.placed", ["b", 0], { priority: 2 });
            await queue.add("order.placed", ["a", 10], { delay: 50 });
            await done();
        """).end()
        await placed.emit(("a", 11))
        await herd.start()
        await runs.wait(13)
        assert runs.most["a"] == 1
        assert [number for number in runs.of("a") if number < 10] == list(range(10))
        begun = records.named("event.begin")
        assert {getattr(record, "attempt", 0) for record in begun} == {1}
        assert len(begun) == 13


async def test_node_counts_removes_and_promotes_what_a_key_holds_back(herd: Oxherd, on_node: OnNode) -> None:
    runs = Runs()

    @herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await (runs.gates["go"].wait() if order[1] == 0 else runs.run(order))

    async with herd:
        await herd.start()
        emitted = await placed.emit_many([("a", number) for number in range(6)])
        await until(lambda: delayed(herd, 5))
        found = await on_node(f"""
            const held = await queue.getDelayed();
            say([await queue.getDelayedCount(), held.map((job) => job.data[1]).sort()]);
            await (await queue.getJob("{emitted[1].id}")).remove();
            await (await queue.getJob("{emitted[4].id}")).promote();
            await done();
        """).end()
        assert found == [[5, [1, 2, 3, 4, 5]]]
        await until(lambda: delayed(herd, 4))
        runs.gates["go"].set()
        await runs.wait(4)
        assert runs.of("a") == [2, 3, 4, 5]
        assert runs.most["a"] == 1


async def test_nodes_worker_takes_no_notice_and_leaves_no_share_taken(herd: Oxherd, on_node: OnNode) -> None:
    runs = Runs()

    @herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with herd:
        await placed.emit_many([("a", number) for number in range(4)])
        script = on_node("""
            const it = worker(async (job) => { say(job.data[1]); }, { concurrency: 4 });
            await done();
        """)
        await script.wait(count=4)
        await script.end()
        await placed.emit_many([("a", number) for number in range(4, 8)])
        await herd.start()
        await runs.wait(4)
        assert runs.most["a"] == 1
