"""Which suspects begin alone, and when everything else goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oxherd.worker.fetching.isolation import Isolation, Mark

LOCK = 2.0


class Event:
    """A candidate; `marks` are those that its job has had."""

    def __init__(self, process: Process, number: int, uncounted: int = 0) -> None:
        self.process = process
        self.number = number
        self.uncounted = uncounted
        self.marks: list[Mark | None] = []
        self.refused = False
        self.mark_seconds = 0.0  # how long the server takes

    async def wait(self, future: asyncio.Future[Any], seconds: float | None = None) -> bool:
        if not self.refused:
            await asyncio.wait([future], timeout=seconds)
        return future.done() and not future.cancelled() and not self.refused

    async def mark(self, mark: Mark | None) -> bool:
        await asyncio.sleep(self.mark_seconds)
        if mark is Mark.ALONE:
            # What would count as a stall if the process died now is the only one that runs.
            assert not self.process.running, self.process.running
        self.marks.append(mark)
        marked = self.process.marked
        if mark in (Mark.ALONE, Mark.BESIDE):
            assert not marked
            marked[self.number] = mark
        else:
            marked.pop(self.number, None)
        return not self.refused


class Process:
    """Runs handlers under one isolation, and notes which of them would have stalled."""

    def __init__(self, lock: float = LOCK) -> None:
        self.isolation = Isolation()
        self.isolation.serve(lock)
        self.running: set[int] = set()
        self.marked: dict[int, Mark] = {}
        self.begun: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, number: int, ends: asyncio.Event | None = None, *, uncounted: int | None = None) -> Event:
        """Begin an event; one with uncounted stalls is a suspect. It runs until `ends`, or for a moment."""
        event = Event(self, number, uncounted or 0)
        self.tasks.append(asyncio.create_task(self._run(event, ends, suspect=uncounted is not None)))
        return event

    async def _run(self, event: Event, ends: asyncio.Event | None, *, suspect: bool) -> None:
        isolation, number = self.isolation, event.number
        begins = (
            await isolation.enter_in_turn(event) if suspect else isolation.try_enter() or await isolation.enter(event)
        )
        if not begins:
            assert event.refused
            return
        assert not self.marked or number in self.marked, "nothing begins in the first moments of another"
        self.running.add(number)
        self.begun.append(number)
        if ends is None:
            await asyncio.sleep(0)
        else:
            await ends.wait()
        self.running.discard(number)
        self.marked.pop(number, None)
        isolation.leave(event if suspect else None)

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
        assert (process.marked, len(process.begun)) == ({first: Mark.ALONE}, count)
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
        assert process.marked == {last: Mark.BESIDE}
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
    assert process.marked == {0: Mark.ALONE}
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


async def test_one_that_is_refused_while_it_waits_holds_nobody_up() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends, uncounted=0)
    await begun(process, 1)
    refused = process.start(1, uncounted=0)
    process.start(2, uncounted=0)
    await process.turns()
    refused.refused = True
    ends.set()
    assert await begun(process, 2) == [0, 2]
    await asyncio.gather(*process.tasks)


async def test_one_whose_lock_is_lost_in_its_turn_ends_it_in_time() -> None:
    process, ends = Process(), asyncio.Event()
    lost = process.start(0, ends, uncounted=0)
    await begun(process, 1)
    lost.refused = True
    process.start(1)
    assert await begun(process, 2) == [0, 1]
    ends.set()
    await asyncio.gather(*process.tasks)


async def test_one_that_runs_alone_stays_marked_until_something_else_begins() -> None:
    process, ends = Process(lock=0.4), asyncio.Event()
    process.start(0, ends, uncounted=0)
    await begun(process, 1)
    await asyncio.sleep(0.2)  # several turns' time
    assert process.marked == {0: Mark.ALONE}
    process.start(1)
    assert await begun(process, 2) == [0, 1]
    assert not process.marked
    ends.set()
    await asyncio.gather(*process.tasks)


async def test_what_waits_for_a_turn_is_marked_as_held_until_it_begins() -> None:
    process, ends = Process(), asyncio.Event()
    process.start(0, ends, uncounted=0)
    await begun(process, 1)
    other = process.start(1)
    suspect = process.start(2, uncounted=0)
    await process.turns()
    assert (other.marks, suspect.marks) == ([Mark.HELD], [Mark.HELD])
    ends.set()
    await asyncio.gather(*process.tasks)
    assert other.marks == [Mark.HELD, None]


async def test_the_shortest_lock_of_the_process_decides_how_long_others_wait() -> None:
    process, ends = Process(lock=60), asyncio.Event()
    process.isolation.serve(0.5)
    process.start(0, ends)
    await process.turns()
    process.start(1, ends, uncounted=3)
    process.start(2, ends)
    started = asyncio.get_running_loop().time()
    await begun(process, 3)
    assert asyncio.get_running_loop().time() - started < 0.3
    ends.set()
    await asyncio.gather(*process.tasks)


async def test_however_many_stalls_did_not_count_all_have_begun_after_a_fifth_of_the_lock() -> None:
    process, ends = Process(lock=1), asyncio.Event()
    process.start(0, ends)
    await process.turns()
    for number in range(1, 12):
        process.start(number, ends, uncounted=9)
    started = asyncio.get_running_loop().time()
    await begun(process, 12)
    assert asyncio.get_running_loop().time() - started < 0.4
    ends.set()
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
