"""`run_until_empty` while something is on its way to a queue that was looked at before, or to another state."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oxherd import Failure, Oxherd, Retry
from oxherd.bullmq.promotion import promote, unfinished
from oxherd.bullmq.queue import BullQueue
from oxherd.testing import run_until_empty, until_empty
from tests.harness import until

ONCE = Retry(attempts=1)


async def test_a_job_that_comes_due_meanwhile_is_not_overlooked(
    local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = local_herd.declare("order.placed", int)
    async with local_herd:
        emitted = await event.emit(1, delay=60)
        queue = (await local_herd.backend()).queue(event.declaration)
        counts = BullQueue.counts

        async def then_due(self: BullQueue) -> Any:
            found = await counts(self)
            await promote(queue, str(emitted.id).encode())
            return found

        monkeypatch.setattr(BullQueue, "counts", then_due)
        assert await unfinished(queue) == {"delayed": 1}
        assert await unfinished(queue) == {"wait": 1}


async def test_a_failure_of_a_failure_is_found_however_the_looks_fall(
    local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    seen = asyncio.Event()
    may_fail = {"send": asyncio.Event(), "failed": asyncio.Event()}

    @local_herd.event("third", retry=ONCE)
    async def third(failure: Failure[Failure[int]]) -> None:
        await seen.wait()
        told.append(failure.payload.payload)

    @local_herd.event("second", retry=ONCE, on_failed=third)
    async def second(failure: Failure[int]) -> None:
        await may_fail["failed"].wait()
        raise ValueError

    @local_herd.event("first", retry=ONCE, on_failed=second)
    async def first(number: int) -> None:
        await may_fail["send"].wait()
        raise ValueError

    async def counts(queue: str) -> dict[str, int]:
        return await unfinished((await local_herd.backend()).queue_named(queue))

    async def look(queue: BullQueue) -> dict[str, int]:
        """The first look at `second` is just before its event comes, the next one just after that has failed."""
        if queue.keys.queue == "{second}" and may_fail["send"].is_set() and not may_fail["failed"].is_set():
            may_fail["failed"].set()
            await until(lambda: gone("{second}"))
        found = await unfinished(queue)
        if queue.keys.queue == "{third}" and found:
            seen.set()
        if queue.keys.queue == "{second}" and not may_fail["send"].is_set():
            may_fail["send"].set()
            await until(lambda: gone("{first}"))
        return found

    async def gone(queue: str) -> bool:
        return not await counts(queue)

    monkeypatch.setattr(until_empty, "unfinished", look)
    async with local_herd:
        await first.emit(1)
        await run_until_empty(local_herd)
    assert told == [1]
