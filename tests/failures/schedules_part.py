"""An event of a history at random that ticks by schedules, in code and made at run time, and what must hold of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from oxherd import Every
from oxherd.bullmq.job import event_id_text
from tests.failures.history import Run
from tests.failures.history_part import Part
from tests.harness import until

# "mine" is made at run time, the others stand in code. "each" makes up for what was missed, and is never paused.
EACH, OFTEN = 0.4, 0.3
MINE = (0.3, 0.5)
IN_CODE = f"""schedules={{
    "each": Schedule(Every({EACH}), {{"number": 0}}, missed="all"),
    "often": Schedule(Every({OFTEN}), {{"number": 0}}),
}}"""


@dataclass(frozen=True)
class Change:
    """A schedule that is made, changed or ended (without a `number`), with the times of the call and of its answer."""

    asked_at: float
    known_at: float
    number: int | None = None
    every: float = 0.1


class SchedulesPart(Part):
    """Events that tick; each emits beside its ticks only what is run now."""

    def __init__(self, name: str = "beats", options: str = "", **declared: Any) -> None:
        super().__init__(name, f"{IN_CODE}, {options}", **declared)
        self.began_at = time.time()
        self.changes: list[Change] = []
        self.halted_at: dict[str, float] = {}
        self.halts: list[tuple[str, float, float]] = []

    async def schedule(self, every: float) -> None:
        number, asked_at = next(self.numbers), time.time()
        await self.event.schedule("mine", Every(every), {"number": number})
        self.changes.append(Change(asked_at, time.time(), number, every))

    async def unschedule(self) -> None:
        asked_at = time.time()
        await self.event.unschedule("mine")
        self.changes.append(Change(asked_at, time.time()))
        self._goes_on("mine", asked_at)

    async def halt(self, name: str) -> None:
        if await self._there_is(name):
            await self.event.pause_schedule(name)
            self.halted_at.setdefault(name, time.time())

    async def go_on(self, name: str) -> None:
        asked_at = time.time()
        if await self._there_is(name):
            await self.event.resume_schedule(name)
        self._goes_on(name, asked_at)

    async def run_now(self, name: str) -> None:
        if await self._there_is(name):
            self.follow(await self.event.run_schedule(name))

    async def settle(self) -> None:
        """Return when each schedule that there is has ticked once more, and all older ticks have returned."""
        await super().settle()
        if self.halted_at:
            # Ticks that were due before the pause have run by then, and must have no successor.
            await asyncio.sleep(3 * max(*MINE, OFTEN))
        for name in list(self.halted_at):
            await self.go_on(name)
        names = {info.name for info in await self.event.schedules()} | {"each", "often"}
        end = time.time()

        def late() -> bool:
            ticks = self._ticks(self.runs())
            return names <= {name for name, at, _ in ticks if at > end}

        await until(late, deadline=40, every=0.1)
        old = {run.id for _, at, run in self._ticks(self.runs()) if at <= end}
        await until(lambda: old <= {run.id for run in self.runs() if run.what == "returned"}, deadline=40, every=0.1)

    async def judge(self) -> None:
        await super().judge()
        runs = self.runs()  # it goes on ticking
        ticks = self._ticks(runs)
        known = {str(event_id) for event_id in self.waits} | {run.id for _, _, run in ticks}
        assert {run.id for run in runs} == known, f"{self.name}: not all of {runs} are ticks or run now"
        for event_id, answer in self.answers.items():
            assert isinstance(answer, int), f"{self.name}: {event_id} run now was answered {answer!r}"
        self._judge_each({at for name, at, _ in ticks if name == "each"})
        for name, at, run in ticks:
            halts = [halt for halt in self.halts if halt[0] == name and halt[1] < at < halt[2]]
            assert not halts, f"{self.name}: {name} ticks at {at} while paused {halts}: {run}"
            if name == "mine":
                self._judge_mine(at, run)

    def _judge_each(self, at: set[float]) -> None:
        numbers = sorted(round(each / EACH) for each in at)
        wanted = list(range(numbers[0], numbers[-1] + 1))
        assert numbers == wanted, f"{self.name}: ticks are missing: {set(wanted) - set(numbers)}"

    def _judge_mine(self, at: float, run: Run) -> None:
        case = f"{self.name}: mine ticks at {at} as {run}, after {self.changes}"
        assert at > self.changes[0].asked_at, case
        followed = [*self.changes[1:], Change(float("inf"), float("inf"))]
        for change, following in zip(self.changes, followed, strict=True):
            if change.known_at < at < following.asked_at:
                assert change.number is not None, case
                # What is due already at the next change gets its payload.
                assert run.number >= change.number, case
                if run.at < following.asked_at:
                    assert run.number == change.number, case
                    assert round(at * 1000) % round(change.every * 1000) == 0, case

    def _ticks(self, runs: list[Run]) -> list[tuple[str, float, Run]]:
        """Those runs that are ticks: of which schedule, when due."""
        first, last = int(self.began_at) * 1000, int(time.time() + 1) * 1000
        ids = {
            event_id_text(f"{{{self.name}}}", f"repeat:{name}:{ms}"): (name, ms / 1000)
            for name in ("each", "often", "mine")
            for ms in range(first, last, 100)
        }
        return [(*ids[run.id], run) for run in runs if run.id in ids]

    def _goes_on(self, name: str, asked_at: float) -> None:
        halted_at = self.halted_at.pop(name, None)
        if halted_at is not None:
            self.halts.append((name, halted_at, asked_at))

    async def _there_is(self, name: str) -> bool:
        return any(info.name == name for info in await self.event.schedules())
