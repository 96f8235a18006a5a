"""One event of a mixed history: what workers declare of it, what the history does with it, and what must hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from oxherd import Emitted, Event, EventFailed, Oxherd, Retry
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.retry import retry
from tests.failures.history import Run

ATTEMPTS = 2
RETRY = Retry(attempts=ATTEMPTS, delay=0.1)
KINDS = ("plain", "slow", "fails", "retries")
# For how long the event, or its key, rests after the first run of these.
RESTS = {"rests": 0.3, "rests long": 0.7}
Position = tuple[int, int]


class Entry(NamedTuple):
    """An entry of a queue's event stream, which is in the order in which the server did it."""

    position: Position
    event: str
    job: str


class Part:
    """One event; `options` is source of the worker's declaration, `declared` are options of the producer's."""

    def __init__(self, name: str, options: str = "", **declared: Any) -> None:
        self.name, self.options, self.declared = name, options, declared
        self.numbers = count()
        self.payloads: dict[int, dict[str, object]] = {}
        self.event: Event[dict[str, object], Any]
        self.runs: Callable[[], list[Run]]
        self.waits: dict[UUID, asyncio.Task[Any]] = {}
        self.answers: dict[UUID, Any] = {}
        self.paused_at: Position | None = None
        self.pauses: list[tuple[Position, Position]] = []

    @property
    def source(self) -> str:
        """Its handler, for the app of the workers."""
        return f"""
@herd.event({self.name!r}, concurrency=4, lock=1, max_stalls=50, retry=RETRY, {self.options})
async def {self.name.replace(".", "_")}(payload: dict[str, object], ctx: Context) -> object:
    return await run(payload, ctx)
"""

    def begin(self, herd: Oxherd, runs: Callable[[], list[Run]]) -> None:
        """Declare the event for the history's own process; `runs` answers what this event's handler has noted."""
        self.event = herd.declare(self.name, dict[str, object], retry=RETRY, **self.declared)
        self.runs = runs

    def payload(self, kind: str, key: str) -> dict[str, object]:
        """A payload with a number of its own."""
        number = next(self.numbers)
        self.payloads[number] = {"number": number, "kind": kind, "key": key}
        return self.payloads[number]

    def follow(self, emitted: Emitted[Any]) -> None:
        """Ask for an event's result as early as possible."""
        if emitted.id not in self.waits:
            self.waits[emitted.id] = asyncio.create_task(emitted.result(timeout=60))

    async def pause(self) -> None:
        await self.event.pause()
        if self.paused_at is None:
            self.paused_at = await self.position()

    async def resume(self) -> None:
        if self.paused_at is not None:
            self.pauses.append((self.paused_at, await self.position()))
            self.paused_at = None
        await self.event.resume()

    async def settle(self) -> None:
        """Resume, and return when what was emitted has ended, or its result was waited for in vain."""
        await self.resume()
        answers = await asyncio.gather(*self.waits.values(), return_exceptions=True)
        self.answers = dict(zip(self.waits, answers, strict=True))

    async def judge(self) -> None:
        """Check what must hold of any event: while it is paused nothing begins, and what has ended begins no more."""
        entries, ended = await self.stream(), set[str]()
        for entry in entries:
            if entry.event in ("completed", "failed"):
                ended.add(entry.job)
            if entry.event == "active":
                assert entry.job not in ended, f"{self.name}: {entry} after its end, of {entries}"
                within = [pause for pause in self.pauses if pause[0] < entry.position <= pause[1]]
                assert not within, f"{self.name}: {entry} while paused {within}, of {entries}"
        begun = [(run.id, run.fence) for run in self.runs() if run.what == "began"]
        assert len(begun) == len(set(begun)), f"{self.name}: a fence twice in {begun}"

    def judge_answer(self, event_id: UUID, number: int, kind: str) -> None:
        """Check that an event has run with the payload of this number alone, and was answered as its kind says."""
        answer, runs = self.answers[event_id], [run for run in self.runs() if run.id == str(event_id)]
        case = f"{self.name}: {number} of the kind {kind} was answered {answer!r}, runs {runs}"
        assert {run.number for run in runs} == {number}, case
        if kind == "fails":
            assert isinstance(answer, EventFailed), case
            assert {run.attempt for run in runs} == set(range(1, ATTEMPTS + 1)), case
        else:
            assert answer == number, case
            assert any(run.what == "returned" for run in runs), case
        if kind in RESTS:
            assert {run.attempt for run in runs} == {1}, case

    async def queue(self) -> BullQueue:
        return (await self.event.herd.backend()).queue(self.event.declaration)

    async def position(self) -> Position:
        """Where the event stream ends."""
        found = await self._read("XREVRANGE", "+", "-", "COUNT", 1)
        return found[0].position if found else (0, 0)

    async def stream(self) -> list[Entry]:
        """The event stream as a whole."""
        return await self._read("XRANGE", "-", "+")

    async def _read(self, *command: str | int) -> list[Entry]:
        queue = await self.queue()
        name, *arguments = command
        replies = await retry(
            lambda: queue.client.call(queue.keys.slot, name, queue.keys.events, *arguments),
            deadline=time.monotonic() + 20,
        )
        entries: list[Entry] = []
        for entry_id, flat in replies:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            ms, _, number = entry_id.decode().partition("-")
            job = fields.get(b"jobId", b"").decode()
            entries.append(Entry((int(ms), int(number)), fields[b"event"].decode(), job))
        return entries


class OrdersPart(Part):
    """Events of which each stands for itself, and whose ids make no second one."""

    def __init__(self, name: str = "orders", options: str = "", **declared: Any) -> None:
        super().__init__(name, options, once=60, **declared)
        self.emits: list[tuple[UUID, int, str]] = []

    async def emit(self, kind: str, key: str = "") -> None:
        payload = self.payload(kind, key)
        emitted = await self.event.emit(payload)
        self.emits.append((emitted.id, int(str(payload["number"])), kind))
        self.follow(emitted)

    async def again(self) -> None:
        """Emit an event once more that has probably ended: it is known by its id."""
        if self.emits:
            event_id, number, _ = self.emits[len(self.emits) // 2]
            emitted = await self.event.emit(self.payloads[number], id=event_id)
            assert (emitted.id, emitted.duplicate) == (event_id, True), f"{self.name}: {number} twice"

    async def judge(self) -> None:
        await super().judge()
        wanted, begun = {str(event_id) for event_id, _, _ in self.emits}, {run.id for run in self.runs()}
        assert begun == wanted, f"{self.name}: not begun {wanted - begun}, of others {begun - wanted}"
        for each in self.emits:
            self.judge_answer(*each)
