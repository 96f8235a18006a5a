"""Histories at random, killed workers and restarted servers among them, against a model.

It says what may have run and what must be answered.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oxherd import Emitted, EventCancelled, EventExpired, EventFailed, Retry
from oxherd.servers.standalone import StandaloneServer
from tests.failures.history import History

pytestmark = pytest.mark.slow

ATTEMPTS = 3
EXPIRES = 0.4
APP = """
import asyncio, json, os
from pathlib import Path
from oxherd import Context, Oxherd, Retry, RetryIn, Snooze

herd = Oxherd(prefix={prefix!r})
RUNS = os.open("runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(what: str, number: int, ctx: Context) -> None:
    os.write(RUNS, (json.dumps([what, number, ctx.attempt, ctx.fence]) + "\\n").encode())

@herd.event("order.placed", concurrency=4, lock=1, max_stalls=50, retry=Retry(attempts={attempts}, delay=0.05))
async def order_placed(order: dict[str, object], ctx: Context) -> int:
    number, kind = order["number"], order["kind"]
    note("began", number, ctx)
    await asyncio.sleep(0.3 if kind == "slow" else 0.01)
    if kind == "fails" or (kind == "retries" and ctx.attempt < {attempts}):
        raise ValueError("as told")
    if kind == "snoozes" and ctx.fence < 3:
        raise Snooze(0.05)
    if kind == "waits" and ctx.attempt == 1:
        raise RetryIn(0.05)
    note("returned", number, ctx)
    return number
"""

Kind = Literal["plain", "slow", "fails", "retries", "snoozes", "waits"]
Emit = tuple[Literal["emit"], Kind, float, bool]
Step = (
    Emit | tuple[Literal["cancel"], int] | tuple[Literal["kill", "restart", "worker"]] | tuple[Literal["wait"], float]
)

emits = st.tuples(
    st.just("emit"),
    st.sampled_from(["plain", "slow", "fails", "retries", "snoozes", "waits"]),
    st.sampled_from([0.0, 0.0, 0.2]),
    st.booleans(),
)
steps: st.SearchStrategy[Any] = st.one_of(
    emits,
    emits,
    emits,
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.02, 0.1, 0.5])),
    st.sampled_from([("kill",), ("restart",), ("worker",)]),
)


@dataclass
class Known:
    """What the model knows of an event."""

    emitted: Emitted[int]
    kind: Kind
    expires: bool
    cancelled: bool = False  # a cancel said that there was something
    wait: asyncio.Task[Any] = field(init=False)


class OrderHistory(History):
    """One history of orders."""

    def __init__(self, folder: Path, server: StandaloneServer) -> None:
        super().__init__(folder, server, APP, attempts=ATTEMPTS)
        self.restart_server = server.restart
        retry = Retry(attempts=ATTEMPTS, delay=0.05)
        self.event = self.herd.declare("order.placed", dict[str, object], result=int, retry=retry)
        self.events: list[Known] = []

    async def run(self, history: list[Any]) -> None:
        async with self.herd:
            await self.take(history)
            waits = [known.wait for known in self.events]
            answers = await asyncio.gather(*waits, return_exceptions=True)
            for number, answer in enumerate(answers):
                self.judge(number, answer)

    async def emit(self, kind: Kind, delay: float, expires: bool) -> None:
        payload: dict[str, object] = {"number": len(self.events), "kind": kind}
        limit: dict[str, Any] = {"expires": EXPIRES} if expires else {}
        known = Known(await self.event.emit(payload, delay=delay, **limit), kind, expires)
        known.wait = asyncio.create_task(known.emitted.result(timeout=40))
        self.events.append(known)

    async def cancel(self, index: int) -> None:
        if self.events:
            known = self.events[index % len(self.events)]
            known.cancelled |= await known.emitted.cancel("at random")

    async def restart(self) -> None:
        await asyncio.to_thread(self.restart_server)

    def judge(self, number: int, answer: Any) -> None:
        known = self.events[number]
        runs = self.runs()
        begun = [each for each in runs if each[0] == "began" and each[1] == number]
        returned = [each for each in runs if each[0] == "returned" and each[1] == number]
        case = f"{known} answered {answer!r}, runs {begun}"
        fences = [fence for _, _, _, fence in begun]
        assert len(set(fences)) == len(fences), f"a fence twice: {case}"
        if isinstance(answer, EventExpired):
            assert known.expires, case
            assert not begun, case
        elif isinstance(answer, EventCancelled):
            assert known.cancelled, case
            assert answer.reason == "at random", case
        elif isinstance(answer, EventFailed):
            assert known.kind == "fails", case
            assert answer.error_type == "ValueError", case
            assert Counter(attempt for _, _, attempt, _ in begun).keys() == set(range(1, ATTEMPTS + 1)), case
        else:
            assert answer == number, case
            assert known.kind != "fails", case
            assert returned, case


@pytest.fixture(scope="module")
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@settings(
    max_examples=18,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=st.lists(steps, min_size=4, max_size=24))
def test_every_event_is_answered_as_its_history_allows(history: list[Any], server: StandaloneServer) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = OrderHistory(Path(folder), server)
        try:
            asyncio.run(run.run(history))
        finally:
            run.close()
