"""`durable=`: an emit is acknowledged once the replicas, or the disk, have it; on each kind of server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import DeclarationError, Oxherd
from oxherd.bullmq.shards import shard_of, shard_queues
from oxherd.servers.polling import wait_until
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, following


class Order(BaseModel):
    order_id: int = 1
    customer: str = "a"


def customer(order: Order) -> str:
    return order.customer


@pytest.fixture(scope="module")
def on_disk() -> Iterator[str]:
    """A Valkey without a replica, with an append-only file: WAITAOF."""
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server.url


@pytest.fixture(scope="module")
def redis7_with_replica(redis7_binary: Path) -> Iterator[str]:
    """Debian's Redis 7, which has no WAITAOF, with a replica: WAIT."""
    with (
        StandaloneServer(binary=redis7_binary) as primary,
        StandaloneServer(binary=redis7_binary, settings=following(primary)) as replica,
    ):
        wait_until(replica.linked, timeout=30, what="the replica is in step")
        yield primary.url


@pytest.fixture(
    params=[
        "on_disk",
        pytest.param("redis7_with_replica", marks=pytest.mark.redis7),
        "cluster",
        "cluster-bullmq",
        "sentinel",
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of server that can confirm, in turn; and BullMQ's own scripts alone."""
    server = request.getfixturevalue(request.param.removesuffix("-bullmq"))
    return server if isinstance(server, str) else server.url


async def confirmations(herd: Oxherd, queue: str = "{order.placed}") -> int:
    """How many WAIT and WAITAOF commands a queue's server has run."""
    backend = await herd.backend()
    stats: bytes = await backend.client.call(backend.queue_named(queue).keys.slot, "INFO", "commandstats")
    lines = [line for line in stats.decode().splitlines() if line.startswith(("cmdstat_wait:", "cmdstat_waitaof:"))]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


@pytest.mark.parametrize("how", [{}, {"delay": 0.05}, {"priority": 3}, {"once": 60}], ids=str)
async def test_a_durable_event_is_confirmed_before_it_is_acknowledged_and_processed_as_any(
    how: dict[str, Any], herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await order_placed.emit(Order(), durable=True, **how)
        before = await confirmations(herd)
        emitted = await order_placed.emit(Order(), durable=True, **how)
        assert await confirmations(herd) > before
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        assert len(records.named("event.begin", event_id=emitted.id)) == 1


async def test_an_event_may_be_durable_and_an_emit_may_say_otherwise(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order, durable=True)
    async with herd:
        await event.emit(Order())
        asked = await confirmations(herd)
        await event.emit(Order(), durable=False)
        await event.emit_many([Order()] * 3, durable=False)
        assert await confirmations(herd) == asked
        for emitting in (
            event.emit(Order()),
            event.emit_many([Order()] * 3),
            asyncio.to_thread(event.emit_sync, Order()),
            asyncio.to_thread(event.emit_many_sync, [Order()] * 3),
        ):
            await emitting
            before, asked = asked, await confirmations(herd)
            assert asked > before
        backend = await herd.backend()
        assert (await backend.queue(event.declaration).counts())["wait"] == 13
    await asyncio.to_thread(herd.close_sync)


async def test_what_is_emitted_at_the_same_time_is_confirmed_together(herd: Oxherd) -> None:
    event = herd.declare("order.placed", Order)
    async with herd:
        await event.emit(Order(), durable=True)
        before = await confirmations(herd)
        await asyncio.gather(*(event.emit(Order(), durable=True) for _ in range(300)))
        await event.emit_many([Order()] * 700, durable=True)
        assert 2 <= await confirmations(herd) - before <= 20
        backend = await herd.backend()
        assert (await backend.queue(event.declaration).counts())["wait"] == 1001


async def test_durable_events_keep_their_order(herd: Oxherd, records: Records) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}

    @herd.event("order.placed", shards=3, key=customer, ordered=True, durable=True)
    async def order_placed(order: Order) -> None:
        seen[order.customer].append(order.order_id)

    async with herd:
        await order_placed.emit_many([Order(order_id=n, customer=c) for n in range(120) for c in seen])
        await asyncio.gather(*(order_placed.emit(Order(order_id=120 + n, customer=c)) for n in range(80) for c in seen))
        await herd.start()
        await records.wait("event.end", count=400, outcome="completed")
    assert seen == {"a": list(range(200)), "b": list(range(200))}


async def test_an_id_that_is_stored_since_the_event_had_other_shards_is_confirmed_where_it_is(
    url: str, make_herd: Callable[..., Oxherd]
) -> None:
    event_id = next(event_id for _ in range(100) if shard_of(str(event_id := uuid4()).encode(), 4) > 0)
    async with make_herd(url) as herd:
        await herd.declare("order.placed", Order).emit(Order(), id=event_id)
    async with make_herd(url) as herd:
        event = herd.declare("order.placed", Order, shards=4)
        before = await confirmations(herd)
        await event.emit(Order(), id=event_id, durable=True)
        assert await confirmations(herd) > before
        backend = await herd.backend()
        names = shard_queues("order.placed", 4)
        assert [await backend.queue_named(name).holds(str(event_id)) for name in names] == [True, False, False, False]


async def test_only_true_and_false_are_taken(local_herd: Oxherd) -> None:
    wrong: Any = "yes"
    with pytest.raises(DeclarationError, match="durable"):
        local_herd.declare("order.placed", Order, durable=wrong)
    event = local_herd.declare("order.placed", Order)
    with pytest.raises(DeclarationError, match="durable"):
        await event.emit(Order(), durable=wrong)
