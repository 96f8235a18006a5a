"""The places of a worker: none is lost, whatever happens while one waits for it."""

from __future__ import annotations

import asyncio

from oxherd.worker.fetching.slots import SlotPool


async def test_a_place_that_is_granted_to_one_that_was_cancelled_is_free_again() -> None:
    places = SlotPool(1)
    holds, waits = places.queue_slots(), places.queue_slots()
    assert await holds.acquire(1) == 1
    waiting = asyncio.create_task(waits.acquire(1))
    await asyncio.sleep(0)
    holds.release()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert (places.free, waits.held) == (1, 0)
    assert await holds.acquire(1) == 1


async def test_what_a_share_holds_can_be_corrected_in_both_directions() -> None:
    places = SlotPool(3)
    share = places.queue_slots()
    share.acquire_over_limit(5)
    share.recount(1)
    assert (places.free, share.held) == (2, 1)
    share.recount(2)
    assert (places.free, share.held) == (1, 2)
