"""Runs one drill: starts servers, workers and load, injects the fault, and reconciles what happened."""

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
from oxherd.drills.leftovers import Leftovers, find_leftovers, remove_all
from oxherd.drills.load import Load
from oxherd.drills.reconcile import Evidence, Expected, HandlerRun, Row, reconcile
from oxherd.drills.topology import Topology, UserServer, topology_for
from oxherd.drills.worker_log import read_log, seconds
from oxherd.drills.workers import Worker
from oxherd.errors import OxherdError
from oxherd.redis.client import key_slot
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer

T = TypeVar("T")
Progress = Callable[[str], None]

_AFTERMATH_SECONDS = 3.0
_DRAIN_SECONDS = 45.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One drill with one seed: its row, and how many seconds it took."""

    drill: str
    seed: int
    row: Row
    seconds: float


class DrillSession:
    """The servers, workers and load that a fault acts on. `rng` makes every random choice."""

    def __init__(self, drill: Drill, seed: int, topology: Topology, folder: Path, progress: Progress) -> None:
        self.drill = drill
        self.rng = random.Random(f"{drill.name}/{seed}")  # noqa: S311 - reproducible, not secret
        self.topology = topology
        self._progress = progress
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
        rate = self.rng.uniform(60, 140)
        self.load = Load(self.herd, self.ledger, self.rng, rate=rate, extra=0.3 if self.setup.shared else 0.0)
        # Without `once`, an emit that is retried after its event has run would store a second one.
        self.load.options = {"once": 60, "durable": drill.durable}
        self.erased_at: float | None = None
        self._fault_ended_at = 0.0
        self._load_ended_at = 0.0
        self._exit_errors: list[str] = []

    # -- for faults

    @property
    def server(self) -> StandaloneServer:
        """The standalone server of a drill that needs one."""
        assert isinstance(self.topology, StandaloneServer)  # noqa: S101 - by `Drill.needs`
        return self.topology

    @property
    def cluster(self) -> LocalCluster:
        """The cluster of a drill that needs one."""
        assert isinstance(self.topology, LocalCluster)  # noqa: S101 - by `Drill.needs`
        return self.topology

    @property
    def slot(self) -> int:
        """The slot of the load's queue."""
        return key_slot(f"{{{WORK}}}")

    async def blocking(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call, such as a server's start, while the load goes on."""
        return await asyncio.to_thread(function, *arguments)

    async def pause(self, least: float, most: float | None = None) -> None:
        """Let the load go on for `least` seconds, or a random time up to `most`."""
        await asyncio.sleep(least if most is None else self.rng.uniform(least, most))

    async def start_worker(self, **changes: Any) -> Worker:
        """Start one more worker, with `changes` to its setup, and return when it is ready."""
        setup = replace(self.setup, **changes) if changes else self.setup
        worker = Worker(self._folder, f"worker{len(self.workers) + 1}", self.topology.url, setup)
        self.workers.append(worker)
        await self.blocking(worker.wait_started)
        return worker

    def any_worker(self) -> Worker:
        """A random worker that is running."""
        return self.rng.choice([worker for worker in self.workers if worker.process.poll() is None])

    async def stop_worker(self, worker: Worker) -> None:
        """Stop a worker with SIGTERM; an exit status other than 0 fails the drill."""
        status = await self.blocking(worker.stop)
        if status != 0 and worker.killed is None:
            self._exit_errors.append(f"{worker.name} ended with status {status}, not 0")

    async def until_worker_died(self) -> None:
        """Wait until another worker has died."""
        alive = [worker for worker in self.workers if worker.killed is None]
        await self.until(lambda: any(worker.died() for worker in alive), "the death of a worker")

    async def until_begun(self, event_id: str) -> None:
        """Wait until an event's handler has begun."""
        await self.until(lambda: any(line[0] == event_id for line in self._effects()), "the event's begin")

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = _DRAIN_SECONDS) -> None:
        """Wait for a condition.

        Raises:
            OxherdError: it is not true within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise OxherdError(f"{self.drill.name}: {what} did not happen within {timeout:g} s.")
            await asyncio.sleep(0.02)

    # -- the drill itself

    async def run(self) -> Row:
        """Start workers and load, inject the fault, drain, and reconcile."""
        self._progress("starting workers")
        await asyncio.gather(*(self.start_worker() for _ in range(self.drill.workers)))
        async with self.herd:
            self.load.start()
            await self.pause(0.8, 2.0)
            self._progress(self.drill.description)
            await self.drill.inject(self)
            self._fault_ended_at = time.time()
            self._progress("aftermath")
            await self.pause(_AFTERMATH_SECONDS)
            self._load_ended_at = time.time()
            await self.load.stop()
            self._progress("draining")
            await self._drain()
            await asyncio.gather(*(self.stop_worker(worker) for worker in self.workers if not worker.died()))
            # Only now: a stop may put events back.
            leftovers = await find_leftovers(self.herd)
            if isinstance(self.topology, UserServer):
                await remove_all(self.herd)
        drill = self.drill
        expected = Expected(repeats=drill.repeats, erases=drill.erases, fails=drill.fails)
        return reconcile(self._evidence(leftovers), expected)

    async def _drain(self) -> None:
        """Wait until no event waits or runs, at most `_DRAIN_SECONDS`."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() <= deadline:
            if not (await find_leftovers(self.herd)).unfinished:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _effects(self) -> list[list[str]]:
        """The lines that handlers have written: id, fence, what, time, process."""
        path = Path(self.setup.effects)
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def _evidence(self, leftovers: Leftovers) -> Evidence:
        logs = [(read_log(worker.log), worker.killed) for worker in self.workers]
        return Evidence(
            ledger=self.ledger,
            runs=[run for log, killed in logs for run in _runs(log.records, killed)],
            done={line[0] for line in self._effects() if line[2] == "done"},
            states=leftovers.states,
            leftover_keys=leftovers.keys,
            undocumented=[line for log, _ in logs for line in log.undocumented],
            exit_errors=self._exit_errors,
            erased_at=self.erased_at,
            fault_ended_at=self._fault_ended_at,
            load_ended_at=self._load_ended_at,
            slots=self.setup.concurrency * self.drill.workers,
        )


def _runs(records: list[dict[str, Any]], killed: float | None) -> Iterator[HandlerRun]:
    begun: dict[tuple[str, int], HandlerRun] = {}
    for record in records:
        if record["msg"] == "event.begin":
            run = HandlerRun(record["event_id"], record["fence"], seconds(record), killed=killed)
            begun[run.event_id, run.fence] = run
        elif record["msg"] == "event.end" and (run := begun.get((record["event_id"], record["fence"]))):
            run.ended, run.outcome, run.killed = seconds(record), record["outcome"], None
    yield from begun.values()


async def run_drill(drill: Drill, seed: int, url: str | None, logs: Path | None, progress: Progress) -> Outcome:
    """Run one drill with one seed, on servers of its own unless `url` names the user's.

    The workers' logs are kept in a folder in `logs`, if given.

    Raises:
        UsageError: the drill cannot run on the user's server.
        OxherdError, ServerError: the drill could not be carried out.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="oxherd-drill-") as temporary:
        folder = Path(temporary) if logs is None else logs / f"{drill.name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        progress("starting servers")
        with topology_for(drill, url) as topology:
            session = DrillSession(drill, seed, topology, folder, progress)
            try:
                row = await session.run()
            finally:
                for worker in session.workers:
                    worker.kill()
    return Outcome(drill.name, seed, row, round(time.monotonic() - began, 1))
