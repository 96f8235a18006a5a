"""Several events on one queue, and jobs on it that no event of ours made."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from oxherd import Context, Oxherd
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.bullmq.queue import BullQueue
from tests.harness import Records, until


class Order(BaseModel):
    order_id: int


async def add(herd: Oxherd, event: str, job: NewJob) -> None:
    """Put a job on an event's queue as another program would."""
    queue = (await herd.backend()).queue(herd[event].declaration)
    await queue.add(job, deadline=asyncio.get_running_loop().time() + 10)


async def test_each_event_keeps_to_its_own_concurrency_and_none_starves(herd: Oxherd, records: Records) -> None:
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()

    async def work(ctx: Context) -> None:
        running[ctx.event] += 1
        peak[ctx.event] = max(peak[ctx.event], running[ctx.event])
        await asyncio.sleep(0.02)
        running[ctx.event] -= 1

    @herd.event("order.slow", queue="{orders}", concurrency=1)
    async def slow(order: Order, ctx: Context) -> None:
        await work(ctx)

    @herd.event("order.fast", queue="{orders}", concurrency=4)
    async def fast(order: Order, ctx: Context) -> None:
        await work(ctx)

    async with herd:
        await slow.emit_many([Order(order_id=i) for i in range(12)])
        await fast.emit_many([Order(order_id=i) for i in range(40)])
        await herd.start()
        await records.wait("event.end", count=40, event="order.fast", outcome="completed")
        assert len(records.named("event.end", event="order.slow")) < 12, "a backlog of one event keeps no other waiting"
        await records.wait("event.end", count=12, event="order.slow", outcome="completed", deadline=40)
    assert dict(peak) == {"order.slow": 1, "order.fast": 4}


async def test_a_stop_begins_nothing_that_was_waiting_for_its_place(herd: Oxherd, records: Records) -> None:
    @herd.event("order.slow", queue="{orders}", concurrency=1)
    async def slow(order: Order) -> None:
        await asyncio.sleep(0.3)

    @herd.event("order.fast", queue="{orders}", concurrency=4)
    async def fast(order: Order) -> None: ...

    async with herd:
        await slow.emit_many([Order(order_id=i) for i in range(4)])
        await herd.start()
        await records.wait("event.begin")
        await herd.stop(timeout=10)
        assert len(records.named("event.begin")) == len(records.named("event.end", outcome="completed")) == 1
        queue = (await herd.backend()).queue(slow.declaration)
        counts = await queue.counts()
        assert counts["wait"] + counts["delayed"] == 3
        assert counts["active"] == 0


async def test_an_event_that_is_processed_elsewhere_waits_and_costs_no_attempt(herd: Oxherd, records: Records) -> None:
    @herd.event("order.here", queue="{orders}")
    async def here(order: Order) -> None: ...

    elsewhere = herd.declare("order.elsewhere", Order, queue="{orders}")
    async with herd:
        waiting = await elsewhere.emit(Order(order_id=1))
        done = await here.emit(Order(order_id=2))
        await herd.start()
        await records.wait("event.end", event_id=done.id, outcome="completed")
        queue = (await herd.backend()).queue(elsewhere.declaration)
        key = queue.keys.job(str(waiting.id))
        assert (await queue.counts())["delayed"] == 1
        assert await queue.client.call(queue.keys.slot, "HGET", key, "atm") is None
    assert not records.named("queue.error")


async def test_a_job_that_no_event_of_the_queue_is_named_after_goes_to_failed(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    herd.declare("order.other", Order)
    async with herd:
        for number, name in enumerate(["unknown", "order.other"]):
            await add(herd, "order.placed", NewJob(f"foreign-{number}", name, b"{}", {"attempts": 5}))
        await herd.start()
        faults = await records.wait("queue.error", count=2, source="data")
        assert {fault.event for fault in faults} == {"unknown", "order.other"}
        done = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=done.id, outcome="completed")
        assert (await (await herd.backend()).queue(order_placed.declaration).counts())["failed"] == 2
    assert len(records.named("event.begin")) == 1


async def test_an_event_that_only_newer_workers_know_waits_for_them(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    older, newer = make_herd(url), make_herd(url)

    @older.event("order.placed", queue="{orders}")
    async def order_placed(order: Order) -> None: ...

    @newer.event("order.refunded", queue="{orders}")
    async def order_refunded(order: Order) -> None: ...

    async with older, newer:
        await older.start()
        emitted = await order_refunded.emit_many([Order(order_id=i) for i in range(3)])
        await records.wait("queue.error", source="data", event="order.refunded")
        queue = (await older.backend()).queue(order_placed.declaration)
        await until(lambda: all_delayed(queue), every=0.001)
        await newer.start()
        await records.wait("event.end", count=3, event="order.refunded", outcome="completed", deadline=40)
        assert {str(each.id) for each in emitted} == {vars(r)["event_id"] for r in records.named("event.begin")}
        assert {vars(r)["attempt"] for r in records.named("event.begin")} == {1}
    assert len(records.named("queue.error")) <= 2  # once for each worker that does not know the name


async def all_delayed(queue: BullQueue) -> bool:
    return (await queue.counts())["delayed"] == 3


async def test_a_name_that_no_version_knows_goes_to_failed_once_a_deploy_would_be_over(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", queue="{orders}")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        job = NewJob("foreign", "order.gone", b"{}", {"attempts": 5}, delay_ms=1)
        await add(herd, "order.placed", job)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job("foreign"), "timestamp", now_ms() - 601_000)
        await herd.start()
        await records.wait("queue.error", source="data", event="order.gone")
        await until(lambda: failed(queue))


async def failed(queue: BullQueue) -> bool:
    return (await queue.counts())["failed"] == 1


async def test_data_that_does_not_fit_goes_to_failed_at_once_and_shows_no_value(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        for number, data in enumerate([b"no json", b'{"order_id": "secret-value"}', b"[]", b"\xff\xfe"]):
            await add(herd, "order.placed", NewJob(f"bad-{number}", "order.placed", data, {"attempts": 5}))
        await herd.start()
        faults = await records.wait("queue.error", count=4, source="data")
        assert "secret-value" not in str([fault.error for fault in faults])
        assert any("order_id" in fault.error["message"] for fault in faults)
        done = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=done.id, outcome="completed")
        assert (await (await herd.backend()).queue(order_placed.declaration).counts())["failed"] == 4


async def test_a_job_without_a_uuid_has_the_same_one_in_each_attempt(herd: Oxherd, records: Records) -> None:
    seen: list[UUID] = []

    @herd.event("order.placed")
    async def order_placed(order: Order, ctx: Context) -> None:
        seen.append(ctx.id)
        if ctx.attempt == 1:
            raise ValueError

    async with herd:
        options: dict[str, Any] = {"attempts": 2, "backoff": {"type": "fixed", "delay": 10}}
        await add(herd, "order.placed", NewJob("17", "order.placed", b'{"order_id": 1}', options))
        await herd.start()
        await records.wait("event.end", outcome="completed")
    assert seen[0] == seen[1]
    assert seen[0].version == 5


async def test_a_tick_whose_time_is_no_time_and_a_foreign_failure_are_dealt_with(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        tick = "repeat:x:99999999999999999999"
        options: dict[str, Any] = {"repeat": {"pattern": "0 2 * * *", "tz": "No/Where"}}
        await add(herd, "order.placed", NewJob(tick, "order.placed", b'{"order_id": 1}', options))
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(tick), "rjk", "x")
        await add(herd, "order.placed", NewJob("parent", "order.placed", b'{"order_id": 1}', {}))
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job("parent"), "defa", "child x failed")
        await herd.start()
        await records.wait("queue.error", source="schedule")
        await records.wait("event.end", outcome="completed")
        (fault,) = await records.wait("queue.error", source="finish")
        assert "child x failed" in fault.error["message"]


@pytest.mark.parametrize("options", [{"removeOnComplete": {"age": 3600}}, {"removeOnComplete": {}}, {"attempts": 0}])
async def test_options_as_node_writes_them_complete_a_job_once(
    herd: Oxherd, records: Records, options: dict[str, Any]
) -> None:
    @herd.event("order.placed", lock=1)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await add(herd, "order.placed", NewJob("7", "order.placed", b'{"order_id":1}', options))
        await herd.start()
        await records.wait("event.end", outcome="completed")
        queue = (await herd.backend()).queue(order_placed.declaration)
        await until(lambda: queue_is_idle(queue))
    assert len(records.named("event.begin")) == 1


async def queue_is_idle(queue: BullQueue) -> bool:
    """Whether nothing waits or runs."""
    counts = await queue.counts()
    return not counts["wait"] + counts["active"] + counts["delayed"]
