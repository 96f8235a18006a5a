"""`once=` where answers are lost, and where an event could not be added."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import EmitError, Oxherd
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records
from tests.lossy import LossyWay


class Order(BaseModel):
    order_id: int = 1


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, to be broken."""
    with StandaloneServer() as server:
        yield server


@pytest.mark.parametrize(("once", "runs"), [(None, 2), (60, 1)], ids=["without once", "once"])
@pytest.mark.parametrize("how", [{}, {"priority": 1}, {"many": True}], ids=["one", "prioritized", "many"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "bullmq"])
async def test_an_emit_whose_answer_is_lost_until_the_event_has_run_runs_it_again_only_without_once(
    batched: bool,
    how: dict[str, Any],
    once: float | None,
    runs: int,
    server: StandaloneServer,
    make_herd: Callable[..., Oxherd],
    records: Records,
) -> None:
    async with LossyWay(server.url) as way, make_herd(server.url) as worker:

        @worker.event("order.placed")
        async def order_placed(order: Order) -> None: ...

        await worker.start()
        async with make_herd(way.url, batched=batched) as producer:
            event = producer.declare("order.placed", Order, once=once)
            await _emit(event, **how)  # now the server knows the script
            await records.wait("event.end", outcome="completed")
            way.lose_answers()
            emitting = asyncio.create_task(_emit(event, **how))
            await records.wait("event.end", count=2, outcome="completed")
            way.cut()
            event_id = await emitting
            last = await event.emit(Order(order_id=2))
            await records.wait("event.end", outcome="completed", event_id=last.id)
            if runs == 2:
                await records.wait("event.end", count=2, outcome="completed", event_id=event_id)
    assert len(records.named("event.begin", event_id=event_id)) == runs


async def _emit(event: Any, *, many: bool = False, **how: Any) -> Any:
    if many:
        return (await event.emit_many([Order()]))[0].id
    return (await event.emit(Order(), **how)).id


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "bullmq"])
async def test_a_full_server_leaves_no_mark_without_its_event(
    batched: bool, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url, emit_timeout=0.5, batched=batched)
    event_id = uuid4()

    @herd.event("order.placed", once=60)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await order_placed.emit(Order())
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(EmitError, match="is not stored"):
            await order_placed.emit(Order(), id=event_id)
        server.command("CONFIG", "SET", "maxmemory", "0")
        await order_placed.emit(Order(), id=event_id)
        await herd.start()
        await records.wait("event.end", event_id=event_id, outcome="completed")


async def test_a_damaged_queue_leaves_no_mark_without_its_event(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    event_id = uuid4()

    @herd.event("order.placed", once=60)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        keys = (await herd.backend()).queue(order_placed.declaration).keys
        server.command("SET", keys.wait, "damaged")
        with pytest.raises(EmitError, match="is not stored"):
            await order_placed.emit(Order(), id=event_id)
        server.command("DEL", keys.wait)
        await order_placed.emit(Order(), id=event_id)
        await herd.start()
        await records.wait("event.end", event_id=event_id, outcome="completed")
