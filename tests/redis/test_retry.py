"""Trying again through outages."""

from __future__ import annotations

import time

import pytest

from oxherd.errors import RedisUnavailable
from oxherd.redis.call_state import CallState
from oxherd.redis.retry import retry, retry_delay


class Flaky:
    """Fails so often before it answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.left = failures
        self.error = error or RedisUnavailable("away", source="connect", node="n")

    async def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.02), (2, 0.04), (5, 0.32), (6, 0.5), (10_000, 0.5)])
def test_the_wait_doubles_up_to_half_a_second_and_is_spread(failures: int, longest: float) -> None:
    delays = [retry_delay(failures) for _ in range(200)]
    assert all(longest / 2 <= delay <= longest for delay in delays)
    assert len(set(delays)) > 100


async def test_an_outage_is_waited_out_and_noted() -> None:
    attempts = CallState()
    flaky = Flaky(2)
    assert await retry(flaky, state=attempts) == "done"
    assert attempts.last is flaky.error


async def test_the_deadline_raises_the_last_failure_instead_of_waiting_past_it() -> None:
    began = time.monotonic()
    with pytest.raises(RedisUnavailable, match="away"):
        await retry(Flaky(100), deadline=began + 0.1)
    assert time.monotonic() - began < 0.2


async def test_a_pause_that_gives_up_ends_it() -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    with pytest.raises(RedisUnavailable, match="away"):
        await retry(Flaky(100), pause=pause)
    assert len(waits) == 3


async def test_any_other_error_is_raised_at_once() -> None:
    flaky = Flaky(1, ValueError("damaged"))
    with pytest.raises(ValueError, match="damaged"):
        await retry(flaky)
    assert flaky.left == 0
