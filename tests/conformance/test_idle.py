"""An idle worker: what reaches it while it waits, while it is told to stop, and while it has something else to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

from oxherd import Context, Oxherd
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
        counts = await (await herd.backend()).queue(order_placed.declaration).counts()
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


async def test_jobs_due_at_one_instant_run_in_order_and_are_begun_once(herd: Oxherd, records: Records) -> None:
    ran: list[tuple[str, int]] = []
    order: list[str] = []
    due = 0

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order, ctx: Context) -> None:
        ran.append((str(ctx.id), ctx.fence))

    async with herd:
        await herd.start()
        queue = (await herd.backend()).queue(order_placed.declaration)
        await order_placed.emit_many([Order(number=number) for number in range(20)], delay=1)
        # Due at one instant: nobody knows the score of a millisecond to the last bit but the server.
        for score, job_id in enumerate(await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.delayed, 0, -1)):
            due = round((time.time() + 0.4) * 1000) if score == 0 else due
            await queue.client.call(queue.keys.slot, "ZADD", queue.keys.delayed, due * 0x1000 + score, job_id)
            order.append(job_id.decode())
        await queue.client.call(queue.keys.slot, "ZADD", queue.keys.marker, due, "1")
        await until(lambda: len(ran) == 20)
    assert ran == [(job_id, 1) for job_id in order]


async def test_a_limited_queue_is_served_at_its_full_rate(herd: Oxherd, records: Records) -> None:
    fences: list[int] = []

    @herd.event("order.placed", concurrency=3)
    async def order_placed(order: Order, ctx: Context) -> None:
        fences.append(ctx.fence)

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.meta, "max", 2, "duration", 300)
        await order_placed.emit_many([Order(number=number) for number in range(12)])
        began = time.monotonic()
        await herd.start()
        await until(lambda: len(fences) == 12)
        # Two at once, then two in each of five windows.
        assert 1.4 < time.monotonic() - began < 2.1
    assert set(fences) == {1}


async def test_delayed_jobs_of_a_paused_queue_are_promoted_in_time(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(order_placed.declaration)
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.meta, "paused", 1)
        await herd.start()
        for delay in (0.2, 0.5):
            await order_placed.emit(Order(number=1), delay=delay)

        async def waits() -> int:
            return (await queue.counts())["wait"] + (await queue.counts())["paused"]

        began = time.monotonic()
        await until(lambda: is_equal(waits(), 1), deadline=2)
        await until(lambda: is_equal(waits(), 2), deadline=2)
        assert time.monotonic() - began < 0.8


async def is_equal(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted
