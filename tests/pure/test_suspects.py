"""Whose turn it is among events that a worker has died over."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from oxherd.worker.suspects import Suspects

LOCK = 30.0
APART = LOCK / 3


def test_one_has_its_turn_and_the_others_are_offered_again_one_after_the_other() -> None:
    suspects = Suspects(clock=lambda: 100.0)
    assert suspects.take_turn(LOCK) == 0
    delays = [suspects.take_turn(LOCK) or 0 for _ in range(40)]
    assert delays[0] > 0
    assert delays == sorted(delays)
    assert delays[-1] == APART * 1000
    suspects.end_turn()
    assert suspects.take_turn(LOCK) == 0
    assert suspects.take_turn(LOCK) == delays[0]


@given(st.lists(st.tuples(st.floats(0.001, APART), st.booleans()), max_size=100))
def test_a_second_one_has_its_turn_only_once_the_time_is_over_for_which_they_are_kept_apart(
    history: list[tuple[float, bool]],
) -> None:
    now = 0.0
    suspects = Suspects(clock=lambda: now)
    first, last, held = 0.0, -APART * 2, False
    for pause, ends in history:
        now += pause
        if now - last > APART:
            first = now
        last = now
        later_ms = suspects.take_turn(LOCK)
        if later_ms is None:
            assert now - first >= APART - 1e-6
        elif later_ms == 0:
            assert not held
            held = True
        else:
            assert held
            assert 0 < later_ms <= APART * 1000
            assert now + later_ms / 1000 <= first + APART + 0.001
        if ends:
            suspects.end_turn()
            held = False


async def test_its_turn_begins_once_the_server_has_answered_and_the_others_have_left() -> None:
    suspects, steps = Suspects(), list[str]()
    answered, left = asyncio.Event(), asyncio.Event()

    async def turn() -> None:
        assert suspects.take_turn(LOCK) == 0
        await suspects.alone(LOCK, answered.wait)  # pyright: ignore[reportArgumentType] - what it answers does not matter
        steps.append("begun")

    async def other() -> None:
        await answered.wait()
        assert suspects.take_turn(LOCK)
        with suspects.leaving():
            await left.wait()
            steps.append("left")

    async def fetch() -> None:
        await suspects.wait_for_calm()
        steps.append("fetched")

    await fetch()
    tasks = [asyncio.create_task(step()) for step in (turn, other)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(fetch()))
    answered.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (steps, not suspects.calm) == (["fetched"], True)
    left.set()
    await asyncio.gather(*tasks[:2])
    suspects.end_turn()
    await asyncio.gather(*tasks)
    assert (steps, not suspects.calm) == (["fetched", "left", "begun", "fetched"], False)


async def test_a_turn_keeps_others_from_being_begun_in_its_first_moments_only() -> None:
    suspects = Suspects()

    async def ping() -> None: ...

    assert suspects.take_turn(0.6) == 0
    await suspects.alone(0.6, ping)
    assert not suspects.calm
    async with asyncio.timeout(5):
        await suspects.wait_for_calm()
    # It goes on for long: nothing waits for it any more, but those that are suspects as well.
    assert suspects.calm
    assert suspects.take_turn(0.6) != 0
    async with asyncio.timeout(0):
        await suspects.wait_for_calm()
