"""Bulk operations: watched, stopped, through an outage, beside what is damaged, and from code without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from oxherd import Oxherd, OxherdError, RedisUnavailable
from oxherd.bullmq.queue import BullQueue
from oxherd.servers.standalone import StandaloneServer
from tests.admin.filled import fill_failed, fill_waiting


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["order.placed"].declaration)


@pytest.fixture
def declared(local_herd: Oxherd) -> Oxherd:
    local_herd.declare("order.placed", dict[str, int])
    return local_herd


async def test_many_are_retried_in_batches_that_say_how_far_they_are(declared: Oxherd) -> None:
    async with declared:
        await fill_failed(await queue_of(declared), 1_700)
        progress = [each async for each in declared.admin.retry("order.placed")]
        assert [each.done for each in progress] == [500, 1000, 1500, 1700]
        assert {each.total for each in progress} == {1_700}
        assert (await declared.admin.events())[0].waiting == 1_700


async def test_failures_of_the_same_millisecond_are_each_found_once(declared: Oxherd) -> None:
    async with declared:
        await fill_failed(await queue_of(declared), 2_500, same_time=True)
        found = [row.id async for row in declared.admin.find()]
        assert len(found) == len(set(found)) == 2_500
        bulk = declared.admin.retry(error="no stock of 1")  # 1, 10 to 19, ... of them
        summary = await bulk.run()
        assert summary.done == sum(str(n).startswith("1") for n in range(2_500))
        rest = [row.id async for row in declared.admin.find()]
        assert len(rest) == len(set(rest)) == 2_500 - summary.done


async def test_what_waits_is_cancelled_whatever_a_worker_begins_meanwhile(declared: Oxherd) -> None:
    async with declared:
        queue = await queue_of(declared)
        await fill_waiting(queue, 1_300)
        bulk = declared.admin.cancel("order.placed")
        async for _ in bulk:
            for _ in range(20):
                await queue.fetch("worker:1", 30_000)
        summary = bulk.summary
        (row,) = await declared.admin.events()
        assert (row.waiting, summary.done + row.running) == (0, 1_300)


async def test_what_is_found_moves_on_with_what_a_worker_begins_meanwhile(declared: Oxherd) -> None:
    async with declared:
        queue = await queue_of(declared)
        await fill_waiting(queue, 1_000)
        seen: list[Any] = []
        async for row in declared.admin.find(state="waiting"):
            seen.append(row.id)
            if len(seen) % 100 == 0:
                await queue.fetch("worker:1", 30_000)
        assert len(seen) == len(set(seen)) == 1_000


async def test_a_stopped_operation_is_gone_on_with_by_the_same_call_elsewhere(
    declared: Oxherd, make_herd: Callable[..., Oxherd], standalone: str
) -> None:
    async with declared:
        await fill_failed(await queue_of(declared), 1_200)
        async for _ in declared.admin.retry("order.placed"):
            break
    other = make_herd(standalone)
    other.declare("order.placed", dict[str, int])
    async with other:
        summary = await other.admin.retry("order.placed").run()
        assert (summary.done, summary.total) == (700, 700)


async def test_an_outage_ends_it_with_an_error_and_it_goes_on_afterwards(make_herd: Callable[..., Oxherd]) -> None:
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        herd = make_herd(server.url, emit_timeout=2)
        herd.declare("order.placed", dict[str, int])
        async with herd:
            await fill_failed(await queue_of(herd), 1_200)
            bulk = herd.admin.retry("order.placed")

            async def through_an_outage() -> None:
                async for _ in bulk:
                    await asyncio.to_thread(server.terminate)

            with pytest.raises(RedisUnavailable):
                await through_an_outage()
            assert not server.running
            await asyncio.to_thread(server.start)
            summary = await bulk.run()
            assert (summary.complete, summary.done) == (True, 1_200)
            assert await herd.admin.find().all() == []


async def test_a_damaged_key_is_named_with_its_queue(declared: Oxherd) -> None:
    async with declared:
        queue = await queue_of(declared)
        await fill_failed(queue, 3)
        call, k = queue.client.call, queue.keys
        await call(k.slot, "SET", k.events, "no stream")
        summary = await declared.admin.retry("order.placed").run()
        assert (summary.done, summary.skipped) == (0, 3)
        (problem,) = summary.problems
        assert "{order.placed}" in problem
        assert "mend that key" in problem
        await call(k.slot, "DEL", k.failed)
        await call(k.slot, "SET", k.failed, "no set")
        with pytest.raises(OxherdError, match=r"The queue \{order\.placed\} cannot be read or changed"):
            await declared.admin.find().all()
        (row,) = await declared.admin.events()
        assert row.failed == 0


async def test_a_job_that_cannot_be_read_is_found_as_far_as_it_can_be(declared: Oxherd) -> None:
    async with declared:
        queue = await queue_of(declared)
        call, k = queue.client.call, queue.keys
        await call(k.slot, "SET", k.job("odd"), "no hash")
        await call(k.slot, "ZADD", k.failed, 5, "odd", 6, b"\xff\xfe")
        found = await declared.admin.find().all()
        assert len(found) == 2
        assert all(row.event is None and row.error is None for row in found)


def test_code_without_an_event_loop_reads_and_steers(declared: Oxherd) -> None:
    admin = declared.admin

    async def fill() -> None:
        await fill_failed(await queue_of(declared), 600)

    declared.run_sync(fill())
    try:
        assert admin.events_sync()[0].failed == 600
        rows = [row for row, _ in zip(admin.find(), range(3), strict=False)]
        assert len(rows) == 3
        assert len(admin.find(limit=5).all_sync()) == 5
        story = admin.show_sync(rows[0].id)
        assert story is not None
        assert admin.show_sync("00000000-0000-7000-8000-000000999999") is None
        bulk = admin.retry("order.placed")
        assert bulk.count_sync() == 600
        assert [each.done for each in bulk] == [500, 600]
        assert admin.cancel("order.placed").run_sync().done == 600
        assert admin.schedules_sync() == admin.workers_sync() == []
        admin.pause_sync("order.placed")
        assert admin.events_sync()[0].paused
        admin.resume_sync("order.placed")
        assert admin.unknown_queues_sync() == []
    finally:
        declared.close_sync()
