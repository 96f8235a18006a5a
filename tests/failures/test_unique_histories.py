"""Histories at random of unique events, of each rule, against a model: failures, retries and killed workers too."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oxherd import Debounce, Emitted, Event, EventFailed, Retry, Unique
from oxherd.servers.standalone import StandaloneServer
from tests.failures.history import History

pytestmark = pytest.mark.slow

WITHIN, WAIT, MOST = 0.4, 0.25, 0.8
ATTEMPTS = 2
RULES = {
    "done": Unique(until="done"),
    "last": Unique(until="done", keep_last=True),
    "within": Unique(within=WITHIN),
    "debounce": Debounce(wait=WAIT, at_most=MOST),
}
APP = """
import asyncio, json, os, time
from oxherd import Context, Oxherd, Retry

herd = Oxherd(prefix={prefix!r})
RUNS = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(what: str, sync: dict[str, object], ctx: Context) -> None:
    line = json.dumps([what, str(ctx.id), sync["number"], ctx.attempt, time.time()])
    os.write(RUNS, (line + "\\n").encode())

@herd.event("customer.sync", concurrency=4, lock=1, max_stalls=50, retry=Retry(attempts={attempts}, delay=0.1))
async def customer_sync(sync: dict[str, object], ctx: Context) -> object:
    note("began", sync, ctx)
    await asyncio.sleep(0.3 if sync["kind"] == "slow" else 0.01)
    if sync["kind"] == "fails" or (sync["kind"] == "retries" and ctx.attempt < {attempts}):
        raise ValueError("as told")
    note("returned", sync, ctx)
    return sync["number"]
"""

steps: st.SearchStrategy[Any] = st.one_of(
    *[st.tuples(st.just("emit"), st.sampled_from("ab"), st.sampled_from(["plain", "slow", "fails", "retries"]))] * 4,
    st.tuples(st.just("wait"), st.sampled_from([0.02, 0.1, 0.3])),
    st.sampled_from([("kill",), ("worker",), ("worker",)]),
)


@dataclass(frozen=True)
class Known:
    """An emit, and the times of its call and of its acknowledgement."""

    number: int
    key: str
    kind: str
    asked_at: float
    known_at: float
    emitted: Emitted[Any]


def key_of(sync: dict[str, object]) -> str:
    return str(sync["key"])


class UniqueHistory(History):
    """One history of syncs that are unique by a rule."""

    def __init__(self, folder: Path, server: StandaloneServer, rule: str) -> None:
        super().__init__(folder, server, APP, attempts=ATTEMPTS)
        self.rule = rule
        retry = Retry(attempts=ATTEMPTS, delay=0.1)
        self.event: Event[dict[str, object], Any] = self.herd.declare(
            "customer.sync", dict[str, object], retry=retry, key=key_of, unique=RULES[rule]
        )
        self.emits: list[Known] = []
        self.waits: dict[UUID, asyncio.Task[Any]] = {}

    async def run(self, history: list[Any]) -> None:
        async with self.herd:
            await self.take(history)
            answers = await asyncio.gather(*self.waits.values(), return_exceptions=True)
            self.judge(dict(zip(self.waits, answers, strict=True)))
            for key in {known.key for known in self.emits} if self.rule != "within" else ():
                # Nothing holds a key for good.
                assert not (await self.event.emit({"number": -1, "key": key, "kind": "plain"})).duplicate

    async def emit(self, key: str, kind: str) -> None:
        number, asked_at = len(self.emits), time.time()
        emitted = await self.event.emit({"number": number, "key": key, "kind": kind})
        self.emits.append(Known(number, key, kind, asked_at, time.time(), emitted))
        if emitted.id not in self.waits:
            self.waits[emitted.id] = asyncio.create_task(emitted.result(timeout=40))

    def judge(self, answers: dict[UUID, Any]) -> None:
        runs = self.runs()
        firsts = {known.emitted.id: known for known in self.emits if not known.emitted.duplicate}
        case = f"emits {self.emits}, answers {answers}, runs {runs}"
        assert {known.emitted.id for known in self.emits} == firsts.keys(), case
        assert {UUID(run[1]) for run in runs} == firsts.keys(), case
        for event_id, answer in answers.items():
            of_it = [known for known in self.emits if known.emitted.id == event_id]
            assert len({known.key for known in of_it}) == 1, case
            # What it was given: one of its emits' payloads, the same in each run.
            ran = {run[2] for run in runs if run[1] == str(event_id)}
            wanted = of_it[-1] if self.rule in ("last", "debounce") else of_it[0]
            assert ran == {wanted.number}, case
            if wanted.kind == "fails":
                assert isinstance(answer, EventFailed), case
            else:
                assert answer == wanted.number, case
        getattr(self, f"judge_{self.rule}")(runs, list(firsts.values()), case)

    def judge_done(self, runs: list[Any], firsts: list[Known], case: str) -> None:
        """One event of a key after the other."""
        for key in {known.key for known in firsts}:
            of_key = [str(known.emitted.id) for known in firsts if known.key == key]
            order = [run[1] for run in runs if run[1] in of_key]
            assert sorted(order, key=of_key.index) == order, case

    judge_last = judge_done

    def judge_within(self, runs: list[Any], firsts: list[Known], case: str) -> None:
        """Apart by the time at least; and what came later made another."""
        for known in self.emits:
            first = next(each for each in firsts if each.emitted.id == known.emitted.id)
            assert known.asked_at - first.known_at < WITHIN + 0.05, case
        for key in {known.key for known in firsts}:
            of_key = [known for known in firsts if known.key == key]
            for earlier, later in pairwise(of_key):
                assert later.known_at - earlier.asked_at > WITHIN - 0.05, case

    def judge_debounce(self, runs: list[Any], firsts: list[Known], case: str) -> None:
        """Not begun before the last emit's wait is over, or the longest wait."""
        for first in firsts:
            began = min(run[4] for run in runs if run[1] == str(first.emitted.id))
            last = max(known.asked_at for known in self.emits if known.emitted.id == first.emitted.id)
            assert began > min(last + WAIT, first.asked_at + MOST) - 0.05, case


@pytest.fixture(scope="module")
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.mark.parametrize("rule", RULES)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(history=st.lists(steps, min_size=6, max_size=30))
def test_every_history_of_a_rule_is_as_the_model_says(rule: str, history: list[Any], server: StandaloneServer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = UniqueHistory(Path(folder), server, rule)
        try:
            asyncio.run(run.run(history))
        finally:
            run.close()
