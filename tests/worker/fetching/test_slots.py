"""Slots: none is lost, none is idle while a queue waits, and queues get equal shares."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oxherd.worker.fetching.slots import QueueSlots, SlotPool


async def test_a_slot_granted_to_a_cancelled_acquire_is_free_again() -> None:
    pool = SlotPool(1)
    holds, waits = pool.queue_slots(), pool.queue_slots()
    assert await holds.acquire(1) == 1
    waiting = asyncio.create_task(waits.acquire(1))
    await asyncio.sleep(0)
    holds.release()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert (pool.free, waits.held) == (1, 0)
    assert await holds.acquire(1) == 1


async def test_held_slots_can_be_recounted_in_both_directions() -> None:
    pool = SlotPool(3)
    slots = pool.queue_slots()
    slots.acquire_over_limit(5)
    slots.recount(1)
    assert (pool.free, slots.held) == (2, 1)
    slots.recount(2)
    assert (pool.free, slots.held) == (1, 2)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


Step = tuple[str, int]


@given(
    st.integers(1, 8),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["acquire", "release", "over limit", "close"]), st.integers(0, 4)), max_size=80),
)
@settings(deadline=None)
def test_slots_are_never_lost_never_too_many_and_never_idle_while_a_queue_waits(
    capacity: int, queues: int, steps: list[Step]
) -> None:
    async def history() -> None:
        pool = SlotPool(capacity)
        each = [pool.queue_slots() for _ in range(queues)]
        waiting: dict[int, asyncio.Task[int]] = {}
        over_limit = 0
        for step, number in steps:
            slots = each[number % queues]
            match step:
                case "acquire" if number % queues not in waiting:
                    waiting[number % queues] = asyncio.ensure_future(slots.acquire(number + 1))
                case "release" if slots.held:
                    slots.release()
                case "over limit":
                    slots.acquire_over_limit()
                    over_limit += 1
                case "close":
                    slots.close()
                case _:
                    pass
            await settle()
            waiting = {index: task for index, task in waiting.items() if not task.done()}
            assert sum(slots.held for slots in each) == capacity - pool.free
            assert pool.free >= -over_limit
            assert pool.free <= 0 or not waiting, "nobody waits while a slot is free"
        for task in waiting.values():
            task.cancel()

    asyncio.run(history())


async def serve(slots: QueueSlots, order: list[int], name: int, backlog: int) -> None:
    """A queue with a backlog: acquires what it can, and continues where it may."""
    left = backlog

    async def lane() -> None:
        nonlocal left
        while True:
            left -= 1
            order.append(name)
            await asyncio.sleep(0.002)
            if left <= 0 or not slots.may_continue():
                slots.release()
                return

    lanes: list[asyncio.Task[None]] = []
    while left > 0:
        lanes += [asyncio.ensure_future(lane()) for _ in range(await slots.acquire(4))]
        await asyncio.sleep(0)
    await asyncio.gather(*lanes)


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 12])
async def test_queues_with_equal_backlogs_get_on_equally(capacity: int) -> None:
    pool = SlotPool(capacity)
    order: list[int] = []
    await asyncio.gather(*(serve(pool.queue_slots(), order, name, 60) for name in range(6)))
    half = order[: len(order) // 2]
    assert min(half.count(name) for name in range(6)) >= 15, "half of the way, each has done a good part of its half"
