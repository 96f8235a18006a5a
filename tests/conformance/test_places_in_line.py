"""`per_key`: a job's place in its key's line, and what takes it out of there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

from oxherd import Oxherd, PerKey, Rate, Unique
from oxherd.bullmq.queue import BullQueue
from tests.conformance.key_runs import Runs, left_of_keys, queue_of
from tests.harness import until

MakeHerd = Callable[..., Oxherd]
Order = tuple[str, int]
ONE = PerKey(max_running=1)


def key_of(order: Order) -> str:
    return order[0]


async def delayed(queue: BullQueue, count: int) -> bool:
    """Whether so many are held back, or delayed."""
    return await queue.client.call(queue.keys.slot, "ZCARD", queue.keys.delayed) == count


async def test_what_was_let_go_to_the_back_begins_before_what_its_key_got_later(herd: Oxherd) -> None:
    began: list[Order] = []
    gates = {order: asyncio.Event() for order in [("a", 0), ("a", 1), ("x", 0), ("x", 1)]}

    @herd.event("order.placed", key=key_of, per_key=PerKey(max_running=2), concurrency=3)
    async def placed(order: Order) -> None:
        began.append(order)
        if order in gates:
            await gates[order].wait()

    async with herd:
        queue = await queue_of(herd)
        await placed.emit_many([("a", 0), ("a", 1), ("a", 2), ("x", 0)])
        await herd.start()
        await until(lambda: len(began) == 3)
        assert await delayed(queue, 1)
        await placed.emit_many([("x", 1), ("a", 3), ("a", 4)])
        gates["a", 0].set()  # lets 2 go, to behind 3 and 4; x takes the slot
        await until(lambda: ("x", 1) in began)
        gates["a", 1].set()
        await until(lambda: len(began) == 7)
        assert [number for key, number in began if key == "a"] == [0, 1, 2, 3, 4]
        gates["x", 0].set()
        gates["x", 1].set()
        await herd.stop()
        assert await left_of_keys(queue) == []


async def test_a_prioritized_one_that_was_let_go_keeps_its_place_as_well(herd: Oxherd) -> None:
    began: list[Order] = []
    gates = {order: asyncio.Event() for order in [("a", 0), ("a", 1), ("x", 0), ("x", 1)]}

    @herd.event("order.placed", key=key_of, per_key=PerKey(max_running=2), concurrency=3)
    async def placed(order: Order) -> None:
        began.append(order)
        if order in gates:
            await gates[order].wait()

    async with herd:
        queue = await queue_of(herd)
        await placed.emit_many([("a", 0), ("a", 1), ("a", 2), ("x", 0)], priority=1)
        await herd.start()
        await until(lambda: len(began) == 3)
        assert await delayed(queue, 1)
        await placed.emit_many([("x", 1), ("a", 3), ("a", 4)], priority=1)
        gates["a", 0].set()
        await until(lambda: ("x", 1) in began)
        gates["a", 1].set()
        await until(lambda: len(began) == 7)
        assert [number for key, number in began if key == "a"] == [0, 1, 2, 3, 4]
        gates["x", 0].set()
        gates["x", 1].set()
        await herd.stop()


async def test_an_id_that_was_held_back_cancelled_and_emitted_with_a_delay_waits_for_that(herd: Oxherd) -> None:
    runs, gate = Runs(), asyncio.Event()

    @herd.event("order.placed", key=key_of, per_key=ONE)
    async def placed(order: Order) -> None:
        await runs.run(order, 0)
        await gate.wait()

    async with herd:
        queue = await queue_of(herd)
        await herd.start()
        await placed.emit_many([("a", 0), ("a", 1)])
        emitted = await placed.emit(("a", 2), id=uuid4())
        await until(lambda: delayed(queue, 2))
        assert await emitted.cancel()
        later = await placed.emit(("a", 3), id=emitted.id, delay=3600)
        status = await later.status()
        assert status is not None
        assert (status.state, status.due_at is not None) == ("delayed", True)
        await placed.emit(("a", 4))
        gate.set()
        await runs.wait(3)
        await until(lambda: delayed(queue, 1))
        assert runs.of("a") == [0, 1, 4]
        await herd.stop()
        assert await left_of_keys(queue) == []


async def test_a_payload_with_another_key_leaves_the_line_of_the_first_one(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event(
        "order.placed",
        key=key_of,
        per_key=ONE,
        unique=Unique(until="done", keep_last=True, by=lambda order: str(order[1])),
    )
    async def placed(order: Order) -> None:
        await runs.run(order, 0)

    async with herd:
        queue = await queue_of(herd)
        await herd.start()
        await placed.pause(key="a")
        await placed.emit(("a", 1))
        await until(lambda: delayed(queue, 1))
        assert (await placed.emit(("b", 1))).duplicate
        await runs.wait(1)
        assert runs.begun == [("b", 1)]
        await placed.resume(key="a")
        await placed.emit(("a", 2))
        await runs.wait(2, deadline=5)  # no share of "a" was left to the one that has gone
        await herd.stop()
        assert await left_of_keys(queue) == []


async def test_a_paused_key_is_let_go_once_the_declaration_drops_its_limits(url: str, make_herd: MakeHerd) -> None:
    runs = Runs()
    old, new = make_herd(url), make_herd(url)

    async def placed(order: Order) -> None:
        await runs.run(order, 0)

    old.event("order.placed", key=key_of, per_key=ONE)(placed)
    new.event("order.placed", key=key_of)(placed)
    async with old, new:
        await old["order.placed"].pause(key="a")
        await old["order.placed"].emit_many([("a", number) for number in range(150)])
        await old.start()
        queue = await queue_of(old)
        await until(lambda: delayed(queue, 150))
        await old.stop()
        await new.start()
        await runs.wait(150)
        assert sorted(runs.of("a")) == list(range(150))
        await new.stop()
        assert [key for key in await left_of_keys(queue) if not key.endswith(":paused")] == []


async def test_a_version_without_limits_by_key_begins_what_another_one_has_held_back(
    url: str, make_herd: MakeHerd
) -> None:
    runs, gate = Runs(), asyncio.Event()
    old, new = make_herd(url), make_herd(url)

    @old.event("order.placed", key=key_of, per_key=PerKey(rate=Rate(1, per=2)))
    async def of_old(order: Order) -> None:
        await runs.run(order, 0)

    @new.event("order.placed", key=key_of, concurrency=1)
    async def of_new(order: Order) -> None:
        await runs.run(order, 0)
        await gate.wait()

    async with old, new:
        await new.start()
        await of_new.emit(("x", 0))
        await runs.wait(1)
        await old.start()  # in the middle of a deploy an old worker is started again, and declares its limits
        await of_old.emit_many([("a", number) for number in range(5)])
        queue = await queue_of(old)
        await until(lambda: delayed(queue, 4))
        await old.stop()
        gate.set()
        await runs.wait(6)
        assert sorted(runs.of("a")) == list(range(5))
        await new.stop()
        assert await left_of_keys(queue) == []


async def test_an_open_window_of_a_key_lasts_no_longer_than_one_of_the_limits_that_are_set(herd: Oxherd) -> None:
    runs = Runs()

    @herd.event("order.placed", key=key_of, per_key=PerKey(rate=Rate(1, per=3600)), concurrency=50)
    async def placed(order: Order) -> None:
        await runs.run(order, 0)

    keys = [str(number) for number in range(250)]
    async with herd:
        queue = await queue_of(herd)
        await herd.start()
        await placed.emit_many([(key, number) for number in range(2) for key in keys])
        await until(lambda: delayed(queue, len(keys)))
        await placed.set_limits(per_key=PerKey(rate=Rate(1, per=0.2)))
        await runs.wait(2 * len(keys))  # of more keys than are looked at in one script
        assert all(runs.of(key) == [0, 1] for key in keys)
        await herd.stop()
