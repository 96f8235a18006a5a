"""Answers where an id comes again, and where the queue's event stream is damaged."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import EventFailed, Keep, Oxherd, OxherdError, Retry
from tests.conformance.test_results import asked
from tests.harness import Records, until


class Order(BaseModel):
    number: int = 1


@pytest.mark.parametrize("second", [2, -2])
async def test_an_id_that_is_emitted_again_is_answered_by_its_last_event(
    herd: Oxherd, records: Records, second: int
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1), keep=Keep(failed=0))
    async def order_placed(order: Order) -> int:
        if order.number < 0:
            raise ValueError("no such order")
        return order.number

    async with herd:
        first = await order_placed.emit(Order(number=1))
        wait = asyncio.create_task(first.result(timeout=20))
        await until(lambda: asked(herd, first.id))
        await herd.start()
        assert await wait == 1
        # The first one's answer is left for a minute; of the second nobody asks before it has ended.
        await order_placed.emit(Order(number=second), id=first.id)
        await records.wait("event.end", 2)
        if second > 0:
            assert await first.result() == second
        else:
            with pytest.raises(EventFailed, match="no such order"):
                await first.result()


async def test_a_damaged_event_stream_is_told_to_all_who_wait(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: Order) -> int:
        return order.number

    async with local_herd:
        k = (queue := (await local_herd.backend()).queue(order_placed.declaration)).keys
        emitted = await order_placed.emit(Order(number=7))
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(emitted.result()),
            asyncio.ensure_future(anext(emitted.updates())),
        ]
        await until(lambda: asked(local_herd, emitted.id))
        await queue.client.call(k.slot, "RENAME", k.events, k.base + "elsewhere")
        await queue.client.call(k.slot, "SET", k.events, "x")
        waits.append(asyncio.ensure_future(order_placed.emitted(uuid4()).result()))
        for wait in waits:
            with pytest.raises(OxherdError, match=r"cannot be asked for .*WRONGTYPE"):
                await asyncio.wait_for(wait, 20)
        await queue.client.call(k.slot, "RENAME", k.base + "elsewhere", k.events)
        again = asyncio.create_task(emitted.result(timeout=20))
        await local_herd.start()
        assert await again == 7
