"""`event.pause()` and `event.resume()`: nothing of an event begins meanwhile, on none of its queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from oxherd import Oxherd, Retry, UsageError
from oxherd.bullmq.pausing import is_paused, set_paused
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_queues
from oxherd.testing import captured, inline, run_until_empty
from oxherd.testing.until_empty import NotEmpty
from tests.harness import Records, until


class Order(BaseModel):
    number: int = 0


async def test_a_paused_event_begins_at_its_resume_and_others_go_on_meanwhile(herd: Oxherd, records: Records) -> None:
    go_on = asyncio.Event()

    @herd.event("order.placed")
    async def placed(order: Order) -> None:
        if order.number == 1:
            await go_on.wait()

    @herd.event("order.shipped")
    async def shipped(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await placed.emit(Order(number=1))
        await records.wait("event.begin", event="order.placed")
        await placed.pause()
        await placed.pause()
        held = [
            await placed.emit(Order()),
            await placed.emit(Order(), priority=2),
            await placed.emit(Order(), delay=0.1),
        ]
        status = await held[0].status()
        assert status is not None
        assert (status.state, status.paused) == ("waiting", True)
        go_on.set()  # what runs ends, and brings no other with it
        await records.wait("event.end", event="order.placed", outcome="completed")
        await until(lambda: due(herd, 3))
        for _ in range(20):
            await shipped.emit(Order())
        await records.wait("event.end", count=20, event="order.shipped")
        assert len(records.named("event.begin", event="order.placed")) == 1
        await placed.resume()
        await placed.resume()
        await records.wait("event.end", count=4, deadline=3, event="order.placed", outcome="completed")


async def due(herd: Oxherd, count: int) -> bool:
    """Whether so many events wait, none of them delayed any more."""
    counts = await (await herd.backend()).queue(herd["order.placed"].declaration).counts()
    return counts["delayed"] == 0 and counts["wait"] + counts["prioritized"] == count


async def test_all_shards_are_paused_those_included_that_only_others_declare(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    few, many = make_herd(url), make_herd(url)
    one = few.declare("order.placed", Order)

    @many.event("order.placed", shards=5)
    async def placed(order: Order) -> None: ...

    async with few, many:
        await many.start()
        await placed.emit_many([Order()] * 20)
        await records.wait("event.end", count=20)
        await one.pause()
        emitted = await placed.emit_many([Order()] * 20)
        statuses = [await each.status() for each in emitted]
        assert all(status is not None and status.paused and status.state == "waiting" for status in statuses)
        await one.resume()
        await records.wait("event.end", count=40, deadline=3)


async def test_a_shard_that_is_served_first_while_the_event_is_paused_is_paused_as_well(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    before, after = make_herd(url), make_herd(url)

    @before.event("order.placed")
    async def one(order: Order) -> None: ...

    @after.event("order.placed", shards=4)
    async def placed(order: Order) -> None: ...

    async with before, after:
        await before.start()
        await one.pause()
        emitted = await placed.emit_many([Order()] * 20)
        statuses = [await each.status() for each in emitted]
        assert all(status is not None and status.paused for status in statuses)
        await after.start()
        backend = await after.backend()
        queues = [backend.queue_named(name) for name in shard_queues("order.placed", 4)]
        await until(lambda: all_paused(queues))
        assert not records.named("event.begin")
        await one.resume()
        await records.wait("event.end", count=20)
        assert not any([await is_paused(queue) for queue in queues])


async def all_paused(queues: list[BullQueue]) -> bool:
    return all([await is_paused(queue) for queue in queues])


async def test_a_worker_says_once_that_an_event_is_paused_and_that_it_is_resumed(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def placed(order: Order) -> None: ...

    async with herd:
        await placed.pause()
        await herd.start()
        (paused,) = await records.wait("worker.paused")
        assert (paused.levelname, paused.events, paused.queue) == ("WARNING", ["order.placed"], "{order.placed}")
        health = herd.health()
        assert health.paused == ["order.placed"]
        await until(lambda: herd.health().ready)
        assert herd.health().live
        assert any("order.placed: paused" in reason for reason in herd.health().reasons)
        await placed.resume()
        (resumed,) = await records.wait("worker.resumed")
        assert (resumed.levelname, resumed.events) == ("INFO", ["order.placed"])
        assert herd.health().paused == []
        assert len(records.named("worker.paused")) == 1


async def test_an_ordered_event_goes_on_where_it_was(herd: Oxherd, records: Records) -> None:
    seen: list[int] = []

    @herd.event("order.placed", ordered=True, retry=Retry(attempts=2, delay=0.2))
    async def placed(order: Order) -> None:
        seen.append(order.number)
        if len(seen) == 1:
            raise ConnectionError

    async with herd:
        await herd.start()
        await placed.emit(Order(number=0))
        await records.wait("event.end", outcome="retrying")
        await placed.pause()
        await placed.emit_many([Order(number=number) for number in range(1, 5)])
        await placed.resume()
        await records.wait("event.end", count=5, outcome="completed")
    assert seen == [0, 0, 1, 2, 3, 4]


async def test_the_sync_forms_do_the_same(herd: Oxherd) -> None:
    placed = herd.declare("order.placed", Order)
    await asyncio.to_thread(placed.pause_sync)
    async with herd:
        queue = (await herd.backend()).queue(placed.declaration)
        assert await is_paused(queue)
        await asyncio.to_thread(placed.resume_sync)
        assert not await is_paused(queue)
    await asyncio.to_thread(herd.close_sync)


async def test_a_queue_that_several_events_share_is_not_paused(herd: Oxherd) -> None:
    placed = herd.declare("order.placed", Order, queue="{orders}")
    async with herd:
        await placed.pause()  # alone, as far as this herd declares
        await placed.resume()
        herd.declare("order.shipped", Order, queue="{orders}")
        told = r"^order\.placed: to pause it would pause order\.shipped too, which shares its queue; give it a queue of"
        with pytest.raises(UsageError, match=told):
            await placed.pause()
        with pytest.raises(UsageError, match=r"to resume it would resume order\.shipped too"):
            await placed.resume()
        assert not await is_paused((await herd.backend()).queue(placed.declaration))


async def test_what_bullmq_5_has_put_aside_is_moved_back(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(placed.declaration)
        await placed.pause()
        await placed.emit_many([Order()] * 3)
        await queue.client.call(queue.keys.slot, "RENAME", queue.keys.wait, queue.keys.paused)
        # Beyond what one call moves, with some that wait beside them.
        await queue.client.call(queue.keys.slot, "RPUSH", queue.keys.paused, *(f"gone-{n}" for n in range(7_100)))
        await placed.emit(Order())
        await placed.resume()
        counts = await queue.counts()
        assert (counts["paused"], counts["wait"]) == (0, 7_104)


async def test_run_until_empty_says_that_what_is_left_is_paused(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def placed(order: Order) -> None: ...

    async with local_herd:
        await placed.pause()
        await placed.emit(Order())
        with pytest.raises(
            NotEmpty, match=r"^Not empty: events wait on \{order\.placed\}, paused; resume their events"
        ):
            await run_until_empty(local_herd, timeout=60)
        await placed.resume()
        assert len(await run_until_empty(local_herd)) == 1


async def test_kept_emits_are_not_paused(local_herd: Oxherd) -> None:
    ran: list[int] = []

    @local_herd.event("order.placed")
    async def placed(order: Order) -> None:
        ran.append(order.number)

    with captured(local_herd):
        await placed.pause()
    with inline(local_herd):
        await placed.pause()
        await placed.emit(Order(number=3))
    assert ran == [3]
    async with local_herd:
        queue = (await local_herd.backend()).queue(placed.declaration)
        assert not await is_paused(queue)
        await set_paused(queue, True)
        assert await is_paused(queue)
        await placed.resume()
