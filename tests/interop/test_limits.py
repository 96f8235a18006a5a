"""Limits are BullMQ's own: Node's workers obey them, and what Node sets stays until a declaration changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from oxherd import Context, Event, Limits, Oxherd, Rate, RateLimited
from oxherd.servers.local_cluster import LocalCluster
from tests.conformance.test_limits import begins, happened, in_windows
from tests.harness import Records, until
from tests.interop.node_script import OnNode

T = TypeVar("T")
pytestmark = pytest.mark.node


@pytest.fixture(params=["standalone", "redis7", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


# Ready once it waits for events.
WORKER = """
    const it = worker(async (job) => { await new Promise((resolve) => setTimeout(resolve, %d)); }, { concurrency: 10 });
    await it.waitUntilReady();
    say("ready");
    await done();
"""


async def so_many(count: int, found: Coroutine[Any, Any, list[T]]) -> list[T] | None:
    """What is found, once it is so many."""
    answer = await found
    return answer if len(answer) >= count else None


async def test_nodes_worker_and_ours_begin_together_no_more_than_a_rate_allows(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed", rate=Rate(10, per=1))
    async def placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        await (await placed.emit(0)).result(timeout=10)
        script = on_node(WORKER % 0)
        await script.wait()
        await asyncio.sleep(1)  # the window of the first
        await placed.emit_many(range(40))
        begun = await until(lambda: so_many(41, begins(herd)))
        await script.end()
    assert all(number <= 10 for _, number in in_windows(begun[1:], 1))
    assert begun[-1] - begun[1] < 3.3


async def test_nodes_worker_and_ours_run_together_no_more_than_are_allowed(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed", max_running=3)
    async def placed(number: int) -> None:
        await asyncio.sleep(0.1)

    async with herd:
        await herd.start()
        await (await placed.emit(0)).result(timeout=10)
        script = on_node(WORKER % 100)
        await script.wait()
        await placed.emit_many(range(30))
        steps = await until(lambda: so_many(62, happened(herd, "active", "completed")))
        await script.end()
    running, highest = 0, 0
    for _, kind in steps:
        running += 1 if kind == "active" else -1
        highest = max(highest, running)
    assert highest == 3


async def test_nodes_own_limits_stay_until_the_declaration_changes(
    url: str, make_herd: Callable[..., Oxherd], on_node: OnNode
) -> None:
    async def started_with(**limits: Any) -> Limits:
        herd = make_herd(url)

        @herd.event("order.placed", **limits)
        async def placed(number: int) -> None: ...

        async with herd:
            await herd.start()
            await (await placed.emit(1)).result(timeout=10)
            return await placed.limits()

    await on_node("await queue.setGlobalConcurrency(7); await queue.setGlobalRateLimit(500, 1000); await done();").end()
    assert await started_with() == Limits(Rate(500, per=1), 7)
    assert await started_with(max_running=5) == Limits(Rate(500, per=1), 5)
    await on_node("await queue.setGlobalConcurrency(6); await done();").end()
    assert await started_with(max_running=5) == Limits(Rate(500, per=1), 6)
    assert await started_with(max_running=4, rate=Rate(400, per=2)) == Limits(Rate(400, per=2), 4)
    seen = on_node("say([await queue.getGlobalConcurrency(), await queue.getGlobalRateLimit()]); await done();")
    assert await seen.end() == [[4, {"max": 400, "duration": 2000}]]
    await on_node("await queue.removeGlobalRateLimit(); await done();").end()
    assert await started_with(max_running=4, rate=Rate(400, per=2)) == Limits(None, 4)
    assert await started_with() == Limits()


async def rest_of(placed: Event[int, None], records: Records) -> Any:
    """The record of an event that our worker begins, and Node's does not."""
    if not records.named("event.end", outcome="retrying"):
        await placed.emit(0)
    return next(iter(records.named("event.end", outcome="retrying")), None)


async def test_nodes_worker_rests_as_well_where_a_rate_is_set(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed", rate=Rate(100, per=0.2))
    async def placed(number: int, ctx: Context) -> None:
        if ctx.fence == 1 and number == 0:
            raise RateLimited(1.5)

    async with herd:
        await herd.start()
        script = on_node(WORKER % 0)
        await script.wait()
        rested = await until(lambda: rest_of(placed, records), every=0.1)
        await placed.emit_many(range(1, 10))
        await asyncio.sleep(2)
        begun = await begins(herd)
        await script.end()
    assert not [at for at in begun if rested.created + 0.05 < at < rested.created + 1.4]
    assert [at for at in begun if at > rested.created + 1.4]
