"""An event's limiter: as many as its concurrency hold it, the others get it in their order."""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from oxherd.worker.limiter import Limiter

STEPS = st.lists(st.sampled_from(["acquire", "release", "give up"]), max_size=60)


@given(st.integers(1, 4), STEPS)
def test_at_most_its_limit_hold_it_and_those_that_wait_get_it_in_their_order(limit: int, steps: list[str]) -> None:
    async def history() -> None:
        limiter, held = Limiter(limit), 0
        waiting: deque[asyncio.Future[None]] = deque()
        for step in steps:
            if step == "acquire":
                if limiter.try_acquire():
                    assert held < limit
                    held += 1
                else:
                    assert held == limit
                    waiting.append(limiter.acquire_in_turn())
            elif step == "give up" and waiting:
                waiting.pop().cancel()
            elif step == "release" and held:
                limiter.release()
                if waiting:
                    assert waiting.popleft().done()
                else:
                    held -= 1
            assert not any(turn.done() for turn in waiting)

    asyncio.run(history())
