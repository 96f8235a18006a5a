"""An idle worker: what reaches it while it waits, while it is told to stop, and while it has something else to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pydantic import BaseModel

from oxherd import Oxherd
from tests.harness import Records, until


class Order(BaseModel):
    number: int
    seconds: float = 0.0


async def test_a_worker_that_is_full_takes_nothing_that_another_could_run(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    begun: dict[int, float] = {}
    herds = [make_herd(url) for _ in range(2)]

    async def order_placed(order: Order) -> None:
        begun[order.number] = time.monotonic()
        await asyncio.sleep(order.seconds)

    for herd in herds:
        herd.event("order.placed", concurrency=1)(order_placed)
    async with herds[0], herds[1]:
        for herd in herds:
            await herd.start()
        # Each is in the middle of its wait when the delayed event comes due.
        await herds[0]["order.placed"].emit(Order(number=1, seconds=3), delay=0.3)
        await records.wait("event.begin")
        emitted = time.monotonic()
        await herds[0]["order.placed"].emit(Order(number=2))
        await records.wait("event.begin", count=2)
        assert begun[2] - emitted < 1, "the other worker is idle, and has it"
        await until(lambda: len(records.named("event.end")) == 2)


async def test_what_is_emitted_while_workers_come_and_go_is_neither_lost_nor_left(
    herd: Oxherd, records: Records
) -> None:
    runs: list[int] = []

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order) -> None:
        runs.append(order.number)

    async with herd:
        for number in range(25):
            await order_placed.start()
            emitting = asyncio.create_task(order_placed.emit(Order(number=number)))
            await asyncio.sleep(number * 0.0005)
            await order_placed.stop()
            await emitting
        await order_placed.start()
        await until(lambda: sorted(runs) == list(range(25)))
        counts = await (await herd.link()).queue(order_placed.declaration).counts()
        assert not any(counts.values())
    assert all(vars(record)["stranded"] == 0 for record in records.named("worker.stop"))


async def test_events_that_follow_each_other_slowly_begin_at_once(herd: Oxherd, records: Records) -> None:
    took: list[float] = []

    @herd.event("order.placed", concurrency=2)
    async def order_placed(order: Order) -> None:
        took.append(time.monotonic() - emitted)

    async with herd:
        await herd.start()
        for number in range(20):
            await asyncio.sleep(0.01)
            emitted = time.monotonic()
            await order_placed.emit(Order(number=number))
            await until(lambda wanted=number + 1: len(took) == wanted, every=0.002)
    assert sorted(took)[10] < 0.1
