"""A unique event of a history at random, by each rule, and what must hold of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from oxherd import Debounce, Emitted, Unique
from tests.failures.history_part import Part

WITHIN, WAIT, MOST = 0.4, 0.25, 0.8
RULES = {
    "done": Unique(until="done"),
    "last": Unique(until="done", keep_last=True),
    "within": Unique(within=WITHIN),
    "debounce": Debounce(wait=WAIT, at_most=MOST),
}


@dataclass(frozen=True)
class Known:
    """An emit, and the times of its call and of its acknowledgement."""

    number: int
    key: str
    kind: str
    asked_at: float
    known_at: float
    emitted: Emitted[Any]


def key_of(payload: dict[str, object]) -> str:
    return str(payload["key"])


class UniquePart(Part):
    """Events that are unique by a rule; an emit ends before the next begins."""

    def __init__(self, rule: str, options: str = "", name: str = "", **declared: Any) -> None:
        super().__init__(name or f"unique.{rule}", options, key=key_of, unique=RULES[rule], **declared)
        self.rule = rule
        self.emits: list[Known] = []

    async def emit(self, kind: str, key: str = "a") -> None:
        payload, asked_at = self.payload(kind, key), time.time()
        emitted = await self.event.emit(payload)
        self.emits.append(Known(int(str(payload["number"])), key, kind, asked_at, time.time(), emitted))
        self.follow(emitted)

    async def judge(self) -> None:
        await super().judge()
        firsts = {known.emitted.id: known for known in self.emits if not known.emitted.duplicate}
        case = f"{self.name}: emits {self.emits}, answers {self.answers}, runs {self.runs()}"
        assert {known.emitted.id for known in self.emits} == firsts.keys(), case
        assert {run.id for run in self.runs()} == {str(event_id) for event_id in firsts}, case
        for event_id in firsts:
            of_it = [known for known in self.emits if known.emitted.id == event_id]
            assert len({known.key for known in of_it}) == 1, case
            # What it was given: one of its emits' payloads, the same in each run.
            wanted = of_it[-1] if self.rule in ("last", "debounce") else of_it[0]
            self.judge_answer(event_id, wanted.number, wanted.kind)
        getattr(self, f"judge_{self.rule}")(list(firsts.values()), case)
        for key in {known.key for known in self.emits} if self.rule != "within" else ():
            # Nothing holds a key for good.
            assert not (await self.event.emit({"number": -1, "key": key, "kind": "plain"})).duplicate

    def judge_done(self, firsts: list[Known], case: str) -> None:
        """One event of a key after the other."""
        for key in {known.key for known in firsts}:
            of_key = [str(known.emitted.id) for known in firsts if known.key == key]
            order = [run.id for run in self.runs() if run.id in of_key]
            assert sorted(order, key=of_key.index) == order, case

    judge_last = judge_done

    def judge_within(self, firsts: list[Known], case: str) -> None:
        """Apart by the time at least; and what came later made another."""
        for known in self.emits:
            first = next(each for each in firsts if each.emitted.id == known.emitted.id)
            assert known.asked_at - first.known_at < WITHIN + 0.05, case
        for key in {known.key for known in firsts}:
            of_key = [known for known in firsts if known.key == key]
            for earlier, later in pairwise(of_key):
                assert later.known_at - earlier.asked_at > WITHIN - 0.05, case

    def judge_debounce(self, firsts: list[Known], case: str) -> None:
        """Not begun before the last emit's wait is over, or the longest wait."""
        for first in firsts:
            began = min(run.at for run in self.runs() if run.id == str(first.emitted.id))
            last = max(known.asked_at for known in self.emits if known.emitted.id == first.emitted.id)
            assert began > min(last + WAIT, first.asked_at + MOST) - 0.05, case
