"""Answers where the queue's event stream is damaged."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from oxherd import Oxherd, OxherdError
from tests.conformance.test_results import asked
from tests.harness import until


class Order(BaseModel):
    number: int = 1


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
