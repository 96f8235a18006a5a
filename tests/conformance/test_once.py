"""`once=`: an id makes one event, also when the first has been processed and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from oxherd import DeclarationError, Oxherd
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.shards import shard_queues
from tests.harness import Records, until


class Order(BaseModel):
    order_id: int = 1
    customer: str = "a"


def customer(order: Order) -> str:
    return order.customer


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["order.placed"].declaration)


async def mark_ms(herd: Oxherd, event_id: UUID) -> int:
    """How long an id's mark lives on, in milliseconds; -2 where there is none."""
    queue = await queue_of(herd)
    return await queue.client.call(queue.keys.slot, "PTTL", queue.keys.deduplication(str(event_id)))


@pytest.mark.parametrize("how", [{}, {"delay": 0.05}, {"priority": 3}], ids=["at once", "delayed", "prioritized"])
async def test_an_id_makes_one_event_while_its_mark_lives_and_another_one_after_that(
    how: dict[str, Any], herd: Oxherd, records: Records
) -> None:
    event_id = uuid4()

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await order_placed.emit(Order(), id=event_id, once=timedelta(minutes=1), **how)
        await herd.start()
        await records.wait("event.end", outcome="completed", event_id=event_id)
        queue = await queue_of(herd)
        assert not await queue.holds(str(event_id))
        assert 50_000 < await mark_ms(herd, event_id) <= 60_000
        # Twice in the same turn as well, and beside an event that has nothing to do with it.
        other, *_ = await asyncio.gather(
            order_placed.emit(Order(order_id=2), once=60, **how),
            *(order_placed.emit(Order(), id=event_id, once=60, **how) for _ in range(2)),
        )
        await records.wait("event.end", outcome="completed", event_id=other.id)
        assert sum((await queue.counts()).values()) == 0
        assert len(records.named("event.begin", event_id=event_id)) == 1
        # The mark's life is not prolonged, and says who had the id.
        assert await mark_ms(herd, event_id) < 60_000
        stream = await queue.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
        refused = [entry for _, entry in stream if b"deduplicated" in entry]
        said = {b"jobId": str(event_id).encode(), b"deduplicatedJobId": str(event_id).encode()}
        assert len(refused) == 2
        assert all(said.items() <= dict(zip(entry[::2], entry[1::2], strict=True)).items() for entry in refused)

        await queue.client.call(queue.keys.slot, "PEXPIRE", queue.keys.deduplication(str(event_id)), 1)
        await until(lambda: _gone(herd, event_id))
        await order_placed.emit(Order(), id=event_id, once=60, **how)
        await records.wait("event.end", count=2, outcome="completed", event_id=event_id)


async def _gone(herd: Oxherd, event_id: UUID) -> bool:
    return await mark_ms(herd, event_id) == -2


async def test_an_event_says_how_long_and_an_emit_may_say_otherwise(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order, once=30)
    async with herd:
        by_event = await event.emit(Order())
        (of_many,) = await event.emit_many([Order()])
        longer = await event.emit(Order(), once=90.0004)
        never = await event.emit(Order(), once=0)
        (never_of_many,) = await event.emit_many([Order()], once=0)
        synchronous = await asyncio.to_thread(event.emit_sync, Order(), once=45)
        (many_synchronous,) = await asyncio.to_thread(event.emit_many_sync, [Order()], once=45)
        for emitted, least, most in (
            (by_event, 20_000, 30_000),
            (of_many, 20_000, 30_000),
            (longer, 80_000, 90_001),
            (never, -2, -2),
            (never_of_many, -2, -2),
            (synchronous, 35_000, 45_000),
            (many_synchronous, 35_000, 45_000),
        ):
            assert least <= await mark_ms(herd, emitted.id) <= most
        assert (await (await queue_of(herd)).counts())["wait"] == 7
    await asyncio.to_thread(herd.close_sync)


async def test_a_job_that_is_added_at_once_does_not_name_its_mark(local_herd: Oxherd) -> None:
    """BullMQ has nothing to do with it at the job's end: naming it would only make the end dearer."""
    event = local_herd.declare("order.placed", Order)
    async with local_herd:
        emitted = await event.emit(Order(), once=60)
        queue = await queue_of(local_herd)
        fields = await queue.client.call(queue.keys.slot, "HGETALL", queue.keys.job(str(emitted.id)))
        stored = dict(zip(fields[::2], fields[1::2], strict=True))
    assert b"deid" not in stored
    assert b'"de"' not in stored[b"opts"]


async def test_an_id_that_is_stored_is_not_added_again_whatever_its_mark(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order)
    unmarked, marked = uuid4(), uuid4()
    async with herd:
        queue = await queue_of(herd)
        await event.emit(Order(), id=unmarked)
        await event.emit(Order(), id=unmarked, once=60)
        await event.emit(Order(), id=marked, once=60)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.deduplication(str(marked)))
        await event.emit(Order(), id=marked, once=60)
        await event.emit(Order(), id=marked)
        assert (await queue.counts())["wait"] == 2


async def test_many_with_ids_seen_before_add_the_others_only(herd: Oxherd, records: Records) -> None:
    runs: list[int] = []

    @herd.event("order.placed", once=60)
    async def order_placed(order: Order) -> None:
        runs.append(order.order_id)

    ids = [uuid4() for _ in range(120)]
    async with herd:
        await asyncio.gather(*(order_placed.emit(Order(order_id=n), id=ids[n]) for n in range(0, 120, 2)))
        await herd.start()
        await records.wait("event.end", count=60, outcome="completed")
        await asyncio.gather(*(order_placed.emit(Order(order_id=n), id=ids[n]) for n in range(120)))
        await records.wait("event.end", count=120, outcome="completed")
        assert sum((await (await queue_of(herd)).counts()).values()) == 0
    assert sorted(runs) == list(range(120))


@pytest.mark.parametrize("ordered", [False, True], ids=["in any order", "ordered"])
async def test_an_id_makes_one_event_also_where_the_number_of_shards_changes(
    ordered: bool, url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    event_id = uuid4()
    numbers = (3, 1, 5, 3)
    options: dict[str, Any] = {"key": customer, "ordered": True} if ordered else {}

    async def process(order: Order) -> None: ...

    for shards in numbers:
        herd = make_herd(url)
        event = herd.event("order.placed", shards=shards, **options)(process)
        async with herd:
            await herd.start()
            await event.emit(Order(), id=event_id, once=60)
            await records.wait("event.end", outcome="completed", event_id=event_id)
            backend = await herd.backend()
            names = {name for number in numbers for name in shard_queues("order.placed", number)}
            assert not any([await backend.queue_named(name).holds(str(event_id)) for name in names])
    assert len(records.named("event.begin", event_id=event_id)) == 1


@pytest.mark.parametrize("once", [-1, True, "60", float("nan"), timedelta(days=200 * 365)])
async def test_a_time_that_is_none_is_refused_before_anything_is_sent(once: Any, local_herd: Oxherd) -> None:
    with pytest.raises(DeclarationError, match="once"):
        local_herd.declare("order.placed", Order, once=once)
    event = local_herd.declare("order.placed", Order)
    with pytest.raises(DeclarationError, match=r"order\.placed: once"):
        await event.emit(Order(), once=once)
    with pytest.raises(DeclarationError, match="once"):
        await event.emit_many([Order()], once=once)
