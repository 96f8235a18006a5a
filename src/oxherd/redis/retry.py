"""Retries through outages: one loop, and one formula for the delay between two attempts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oxherd.errors import RedisUnavailable
from oxherd.redis.call_state import CallState

T = TypeVar("T")

_MAX_DOUBLINGS = 20  # more would only overflow


async def _sleep(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return False


async def retry(
    attempt: Callable[[], Awaitable[T]],
    *,
    deadline: float | None = None,
    state: CallState | None = None,
    pause: Callable[[float], Awaitable[bool]] = _sleep,
) -> T:
    """The result of the first attempt that does not raise RedisUnavailable; other errors are raised at once.

    `pause` waits for the given seconds, and returns whether to give up.

    Raises:
        RedisUnavailable: the last attempt's, if the next would begin after `deadline` (monotonic seconds; None:
            forever) or `pause` gives up.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except RedisUnavailable as error:
            if state is not None:
                state.last = error
                state.repeated = state.repeated or error.maybe_applied
            failures += 1
            delay = retry_delay(failures)
            if (deadline is not None and time.monotonic() + delay >= deadline) or await pause(delay):
                raise


async def retry_until(deadline: float | None, attempt: Callable[[], Awaitable[T]]) -> T:
    """As `retry`, but an attempt that still runs at `deadline` is cut: a server that hangs answers no sooner.

    Raises:
        RedisUnavailable: the last attempt's, or that it has not answered.
    """
    state = CallState()
    limit = asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic()))
    try:
        async with limit:
            return await retry(attempt, deadline=deadline, state=state)
    except TimeoutError:
        if not limit.expired():
            raise
    raise state.last or RedisUnavailable(
        "Redis has not answered in time; check that the server runs.", source="command", node="", maybe_applied=True
    )


def retry_delay(failures: int, *, first: float = 0.02, longest: float = 0.5) -> float:
    """Seconds to wait after `failures` in a row: `first`, doubled up to `longest`, less up to half at random."""
    delay = min(longest, first * 2 ** min(failures - 1, _MAX_DOUBLINGS))
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret
