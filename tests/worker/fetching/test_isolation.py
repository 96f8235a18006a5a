"""Which suspects begin alone, and when everything else goes on."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from oxherd.worker.fetching.isolation import Isolation, Suspect

LOCK = 2.0


async def until_done(future: asyncio.Future[None], seconds: float | None) -> bool:
    await asyncio.wait([future], timeout=seconds)
    return future.done() and not future.cancelled()


class Process:
    """Runs handlers under one isolation, and notes which of them are marked as alone."""

    def __init__(self) -> None:
        self.isolation = Isolation()
        self.running: set[int] = set()
        self.marked: dict[int, bool] = {}  # whether it was begun alone
        self.begun: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, number: int, ends: asyncio.Event | None = None, *, uncounted: int | None = None) -> None:
        """Begin an event; one with uncounted stalls is a suspect. It runs until `ends`, or for a moment."""
        self.tasks.append(asyncio.create_task(self._run(number, ends, uncounted)))

    async def _run(self, number: int, ends: asyncio.Event | None, uncounted: int | None) -> None:
        async def record(alone: bool) -> bool:
            await asyncio.sleep(0)
            # What would count as a stall if the process died now is the only one that runs.
            assert not alone or not self.running, self.running
            assert not self.marked
            self.marked[number] = alone
            return True

        async def erase() -> bool:
            await asyncio.sleep(0)
            return self.marked.pop(number, None) is not None

        suspect = None
        if uncounted is None:
            assert self.isolation.try_enter() or await self.isolation.enter(until_done)
        else:
            suspect = Suspect(LOCK, uncounted, record, erase)
            assert await self.isolation.enter_in_turn(suspect, until_done)
        assert not self.marked or number in self.marked, "nothing is begun in its first moments"
        self.running.add(number)
        self.begun.append(number)
        if ends is None:
            await asyncio.sleep(0)
        else:
            await ends.wait()
        self.running.discard(number)
        self.marked.pop(number, None)
        self.isolation.leave(suspect)

    async def turns(self, count: int = 20) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


async def begun(process: Process, count: int) -> list[int]:
    async with asyncio.timeout(LOCK):
        while len(process.begun) < count:  # noqa: ASYNC110 - its own time is what is measured
            await asyncio.sleep(0.001)
    return process.begun


async def test_suspects_begin_one_by_one_and_everything_else_after_them() -> None:
    process, ends = Process(), {number: asyncio.Event() for number in range(3)}
    for number in range(3):
        process.start(number, ends[number], uncounted=0)
    await process.turns()
    process.start(3)
    for count in range(1, 4):
        first = (await begun(process, count))[-1]
        await process.turns()
        assert (process.marked, len(process.begun)) == ({first: True}, count)
        ends[first].set()
    assert (await begun(process, 4))[-1] == 3
    await asyncio.gather(*process.tasks)


async def test_a_suspect_waits_until_what_runs_has_ended() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends)
    await process.turns()
    process.start(1, uncounted=0)
    await process.turns()
    process.start(2)
    await asyncio.sleep(LOCK / 100)
    assert process.begun == [0]
    ends.set()
    assert await begun(process, 3) == [0, 1, 2]
    await asyncio.gather(*process.tasks)


async def test_suspects_that_cannot_be_alone_in_time_begin_one_by_one_beside_the_rest() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends)
    await process.turns()
    for number in (1, 2, 3):
        process.start(number, ends, uncounted=0)
    await process.turns()
    process.start(4, ends)
    started = asyncio.get_running_loop().time()
    for count in (2, 3, 4):
        last = (await begun(process, count))[-1]
        assert process.marked == {last: False}
    assert (await begun(process, 5))[-1] == 4
    assert not process.marked
    assert asyncio.get_running_loop().time() - started < LOCK / 5
    ends.set()
    await asyncio.gather(*process.tasks)


async def test_a_suspect_that_runs_for_long_is_alone_for_a_twentieth_of_its_lock() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends, uncounted=0)
    await process.turns()
    process.start(1, ends)
    assert await begun(process, 1) == [0]
    started = asyncio.get_running_loop().time()
    assert process.marked == {0: True}
    assert await begun(process, 2) == [0, 1]
    assert LOCK / 25 < asyncio.get_running_loop().time() - started < LOCK / 10
    assert not process.marked
    ends.set()
    await asyncio.gather(*process.tasks)


async def test_a_suspect_with_uncounted_stalls_is_waited_for_longer() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends)
    await process.turns()
    process.start(1, uncounted=1)
    await asyncio.sleep(LOCK / 10)
    assert process.begun == [0]
    ends.set()
    assert await begun(process, 2) == [0, 1]
    await asyncio.gather(*process.tasks)


async def test_a_refused_suspect_holds_nobody_up() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends, uncounted=0)
    await begun(process, 1)
    refused = asyncio.Event()

    async def refuse(future: asyncio.Future[None], _: float | None) -> bool:
        await refused.wait()
        future.cancel()
        return False

    async def never(*_: bool) -> bool:
        raise AssertionError("it is not begun")

    waiting = asyncio.create_task(process.isolation.enter_in_turn(Suspect(LOCK, 0, never, never), refuse))
    process.start(1, uncounted=0)
    await process.turns()
    refused.set()
    assert not await waiting
    ends.set()
    assert await begun(process, 2) == [0, 1]
    await asyncio.gather(*process.tasks)


@given(
    st.lists(
        st.tuples(st.sampled_from([None, None, 0, 0, 1, 3]), st.integers(0, 5), st.integers(0, 3)),
        min_size=1,
        max_size=25,
    )
)
async def test_everything_begins_and_at_most_one_suspect_is_marked(
    events: list[tuple[int | None, int, int]],
) -> None:
    process = Process()
    for number, (uncounted, turns, pause) in enumerate(events):
        ends = asyncio.Event()
        process.start(number, ends, uncounted=uncounted)
        asyncio.get_running_loop().call_later(turns * 0.001, ends.set)
        await process.turns(pause)
    async with asyncio.timeout(20):
        await asyncio.gather(*process.tasks)
    assert sorted(process.begun) == list(range(len(events)))
    assert not process.marked
    assert process.isolation.try_enter()
