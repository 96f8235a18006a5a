"""Where a drill takes place: servers, workers, load, and the account at the end."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from oxherd.app import Oxherd
from oxherd.drills.app import WORK, Setup, make_herd
from oxherd.drills.drill import Drill
from oxherd.drills.ledger import Ledger
from oxherd.drills.leftovers import Remains, remains, remove_all
from oxherd.drills.load import Load
from oxherd.drills.reconcile import Expected, Facts, Row, Run, reconcile
from oxherd.drills.records import read_log, seconds
from oxherd.drills.topology import Topology, topology_for
from oxherd.drills.workers import Worker
from oxherd.errors import OxherdError
from oxherd.redis.client import key_slot
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer

T = TypeVar("T")

_AFTERMATH_SECONDS = 3.0
_DRAIN_SECONDS = 45.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One drill with one seed, and its account; `seconds` is how long it took."""

    drill: str
    seed: int
    row: Row
    seconds: float


Say = Callable[[str], None]


class Scene:
    """What a drill acts on. Everything that it leaves to chance comes from `rng`."""

    def __init__(self, drill: Drill, seed: int, topology: Topology, folder: Path, say: Say) -> None:
        self.drill = drill
        self.rng = random.Random(f"{drill.name}/{seed}")  # noqa: S311 - to be repeated, not to be secret
        self.topology = topology
        self.say = say
        self._folder = folder
        self.setup = Setup(
            parent=os.getpid(),
            prefix=f"drill{uuid4().hex[:10]}",
            effects=str(folder / "effects"),
            concurrency=self.rng.randint(3, 8),
        )
        if drill.app:
            self.setup = replace(self.setup, **drill.app)
        self.workers: list[Worker] = []
        self.ledger = Ledger()
        self.herd: Oxherd = make_herd(replace(self.setup, effects="", extra=self.setup.shared), topology.url)
        self.load = Load(
            self.herd,
            self.ledger,
            self.rng,
            rate=self.rng.uniform(60, 140),
            extra=0.3 if self.setup.shared else 0.0,
        )
        # Without the mark, an emit that is tried again after its event has run would make another.
        self.load.options = {"once": 60, "durable": drill.durable}
        self.mended_at = 0.0
        self.quiet_at = 0.0
        self.erased_at: float | None = None
        self.wrong: list[str] = []

    # -- what drills do

    @property
    def server(self) -> StandaloneServer:
        """The standalone server."""
        assert isinstance(self.topology, StandaloneServer)  # noqa: S101 - by what the drill needs
        return self.topology

    @property
    def cluster(self) -> LocalCluster:
        """The cluster."""
        assert isinstance(self.topology, LocalCluster)  # noqa: S101 - by what the drill needs
        return self.topology

    @property
    def slot(self) -> int:
        """The slot of the load's queue."""
        return key_slot(f"{{{WORK}}}")

    async def blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks, such as a server's start, beside the load."""
        return await asyncio.to_thread(function, *arguments)

    async def pause(self, least: float, most: float | None = None) -> None:
        """Let the load go on for some seconds, by chance up to `most`."""
        await asyncio.sleep(least if most is None else self.rng.uniform(least, most))

    async def start_worker(self, **changes: Any) -> Worker:
        """Start one more worker; answers once it takes events."""
        setup = replace(self.setup, **changes) if changes else self.setup
        worker = Worker(self._folder, f"worker{len(self.workers) + 1}", self.topology.url, setup)
        self.workers.append(worker)
        await self.blocking(worker.wait_started)
        return worker

    def any_worker(self) -> Worker:
        """One that runs."""
        return self.rng.choice([worker for worker in self.workers if worker.process.poll() is None])

    def running(self) -> list[Worker]:
        """The workers of which nobody has noticed an end."""
        return [worker for worker in self.workers if worker.killed is None]

    async def stop_worker(self, worker: Worker) -> None:
        """SIGTERM, and wait for its end."""
        status = await self.blocking(worker.stop)
        if status != 0 and worker.killed is None:
            self.wrong.append(f"{worker.name} ended with status {status}, not 0")

    def effects(self) -> list[list[str]]:
        """What the handlers have noted so far: id, fence, what, when, process."""
        path = Path(self.setup.effects)
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    async def until(self, happened: Callable[[], bool], what: str, limit: float = _DRAIN_SECONDS) -> None:
        """Wait for something to happen.

        Raises:
            OxherdError: it did not, in `limit` seconds.
        """
        deadline = time.monotonic() + limit
        while not happened():
            if time.monotonic() > deadline:
                raise OxherdError(f"{self.drill.name}: {what} did not happen within {limit:g} s.")
            await asyncio.sleep(0.02)

    async def until_begun(self, event_id: str) -> None:
        """Wait until an event's handler has begun."""
        await self.until(lambda: any(line[0] == event_id for line in self.effects()), "the event's begin")

    # -- the story

    async def play(self) -> Row:
        """Load, fault, aftermath, account."""
        self.say("starting workers")
        await asyncio.gather(*(self.start_worker() for _ in range(self.drill.workers)))
        async with self.herd:
            self.load.start()
            await self.pause(0.8, 2.0)
            self.say(self.drill.does)
            await self.drill.act(self)
            self.mended_at = time.time()
            self.say("aftermath")
            await self.pause(_AFTERMATH_SECONDS)
            self.quiet_at = time.time()
            await self.load.stop()
            self.say("draining")
            left = await self._drain()
            await asyncio.gather(*(self.stop_worker(w) for w in self.workers if not w.died()))
            # What a stop puts back, or a late answer, is seen now.
            left = await remains(self.herd)
            if not isinstance(self.topology, LocalCluster | StandaloneServer):
                await remove_all(self.herd)
        drill = self.drill
        return reconcile(self._facts(left), Expected(repeats=drill.repeats, erases=drill.erases, fails=drill.fails))

    async def _drain(self) -> Remains:
        """Wait until nothing waits or runs any more."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while True:
            left = await remains(self.herd)
            if not left.busy or time.monotonic() > deadline:
                return left
            await asyncio.sleep(_LOOK_SECONDS)

    def _facts(self, left: Remains) -> Facts:
        runs: list[Run] = []
        strange: list[str] = []
        for worker in self.workers:
            log = read_log(worker.log)
            runs += _runs(log.records, worker.killed)
            strange += log.strange
        done = {line[0] for line in self.effects() if line[2] == "done"}
        return Facts(
            ledger=self.ledger,
            runs=runs,
            done=done,
            stored=left.stored,
            left=left.keys,
            strange=strange,
            statuses=self.wrong,
            erased_at=self.erased_at,
            mended=self.mended_at,
            quiet=self.quiet_at,
            places=self.setup.concurrency * self.drill.workers,
        )


def _runs(records: list[dict[str, Any]], killed: float | None) -> Iterator[Run]:
    begun: dict[tuple[str, int], Run] = {}
    for record in records:
        if record["msg"] == "event.begin":
            run = Run(record["event_id"], record["fence"], seconds(record), killed=killed)
            begun[run.event_id, run.fence] = run
        elif record["msg"] == "event.end" and (run := begun.get((record["event_id"], record["fence"]))):
            run.ended, run.outcome, run.killed = seconds(record), record["outcome"], None
    yield from begun.values()


async def run_drill(drill: Drill, seed: int, url: str | None, logs: Path | None, say: Say) -> Outcome:
    """Run one drill with one seed, on servers that are started for it unless `url` names one.

    The workers' logs are kept in a folder of their own in `logs`, if that is given.

    Raises:
        UsageError: the drill cannot run on the user's own server.
        OxherdError, ServerError: the drill itself could not be carried out.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="oxherd-drill-") as temporary:
        folder = Path(temporary) if logs is None else logs / f"{drill.name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        say("starting servers")
        with topology_for(drill, url) as topology:
            scene = Scene(drill, seed, topology, folder, say)
            try:
                row = await scene.play()
            finally:
                for worker in scene.workers:
                    worker.end()
    return Outcome(drill.name, seed, row, round(time.monotonic() - began, 1))
