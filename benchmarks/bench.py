"""One run's means: the shared server, environments, workers and producers, and where samples and failures go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.counting import Count
from benchmarks.environments import Environment
from benchmarks.process import ProcessTree
from benchmarks.server import BUNDLED, Server
from benchmarks.systems import System
from oxherd import OxherdError

Handler = Literal["noop", "io"]

_SILENCE = 20.0  # seconds without an event handled after which a run has failed
_LONGEST = 600.0  # seconds that a producer may take
_LEAST = 0.25  # seconds that a calibrating run must have lasted to be believed


class RunFailed(Exception):
    """A run whose events do not add up, or whose processes failed; the text is one line."""


class LeftOut(Exception):
    """A run that is not made, or does not count, since the system cannot do what it asks; the text is one line."""


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    rounds: int = 3
    seconds: float = 2.0
    quick: bool = False
    most_events: int = 200_000
    latency_events: int = 300
    loads: tuple[int, ...] = (500, 1000, 2000, 4000, 8000)
    growth_systems: tuple[str, ...] = ()
    servers: tuple[str, ...] = (BUNDLED,)


@dataclass(frozen=True)
class Run:
    """A run to be made: of a system, in a case, on a server; `takes` about so many seconds."""

    measurement: str
    system: System
    case: str
    takes: float
    measure: Callable[[], dict[str, Any]]
    server: str = BUNDLED


@dataclass
class Bench:
    """What the measurements share. `on` names the server of the run that is made."""

    servers: dict[str, Server]
    options: Options
    folder: Path
    samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    left_out: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    round: int = 1
    on: str = BUNDLED
    environments: dict[str, Environment] = field(default_factory=dict[str, Environment])
    rates: dict[tuple[str, str, int, str], float] = field(default_factory=dict[tuple[str, str, int, str], float])
    most_drained: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])

    @property
    def server(self) -> Server:
        """The server of the run that is made."""
        return self.servers[self.on]

    def attempt(self, run: Run) -> None:
        """Make one run on an empty server, and keep its figures or the reason why it has none."""
        begun = time.perf_counter()
        self.on = run.server
        label = self._label(run.measurement, run.system, run.case)
        where = "" if run.server == BUNDLED else f" on {run.server}"
        try:
            self.server.empty()
            sample = run.measure()
        except LeftOut as reason:
            self.left_out.append(label | {"reason": str(reason)})
            say(f"  {run.system.key:14} {run.measurement} {run.case:12}{where} left out: {reason}")
            return
        except (RunFailed, OxherdError, OSError) as error:
            self.failed(run.system, run.measurement, run.case, str(error) or type(error).__name__)
            return
        finally:
            self.server.empty()
        self.samples.append(label | sample | {"wall": round(time.perf_counter() - begun, 3)})
        say(f"  {run.system.key:14} {run.measurement} {run.case:12}{where} {sample['said']}")

    def failed(self, system: System, measurement: str, case: str, reason: str) -> None:
        """Keep the reason of a failure, without addresses and folders, which are nobody's business in a report."""
        reason = re.sub(r"\w+://\S+", "...", reason)
        reason = re.sub(r"(?:/[^\s/'\":,]+)+/", ".../", reason)
        self.failures.append(self._label(measurement, system, case) | {"reason": reason})
        say(f"  FAILED {system.key:14} {measurement} {case} on {self.on}: {reason}")

    def rates_of(self, measurement: str, system: System, case: str) -> list[float]:
        """The rates of that measurement so far, on the server of the run that is made."""
        wanted = (measurement, system.key, case, self.on)
        return [
            float(one["rate"])
            for one in self.samples
            if (one["measurement"], one["system"], one["case"], one["server"]) == wanted
        ]

    def _label(self, measurement: str, system: System, case: str) -> dict[str, Any]:
        keys = {"measurement": measurement, "system": system.key, "case": case}
        return keys | {"server": self.on, "round": self.round}

    def produce(self, system: System, *arguments: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
        """Run a producer to its end; what it answered."""
        producer = self._start(system, [_script(system), *arguments], variables or {})
        try:
            return self._finish_producer(producer)
        finally:
            self.end(producer)

    def _finish_producer(self, producer: ProcessTree) -> dict[str, Any]:
        """Wait for a producer's end; what it answered."""
        try:
            status = producer.process.wait(_LONGEST)
            if status:
                raise RunFailed(f"the producer failed: {producer.complaint()}")
            return json.loads(producer.output.read_text().splitlines()[-1])
        except subprocess.TimeoutExpired:
            raise RunFailed(f"the producer did not end: {producer.complaint()}") from None
        except (IndexError, ValueError):
            raise RunFailed(f"the producer did not say what it emitted: {producer.complaint()}") from None

    def fill(self, system: System, events: int) -> None:
        """Let so many events wait, which are counted."""
        self.produce(system, "fill", str(events))
        if (left := self.server.left(system)) != events:
            raise RunFailed(f"{left} of {events} events wait after they were emitted")

    @contextlib.contextmanager
    def worker(
        self,
        system: System,
        concurrency: int,
        handler: Handler = "noop",
        samples: int = 0,
        variables: dict[str, str] | None = None,
    ) -> Generator[Working]:
        """A worker of that system, ended for certain."""
        variables = dict(system.variables) | {
            "BENCH_CONCURRENCY": str(concurrency),
            "BENCH_HANDLER": handler,
            "BENCH_SAMPLES": str(samples),
            **(variables or {}),
        }
        tree = self._start(system, system.worker_arguments(concurrency, handler), variables)
        count = Count(tree.output.parent)
        try:
            yield Working(tree, count, system)
        finally:
            count.close()
            self.end(tree)

    def end(self, tree: ProcessTree) -> None:
        """Stop a process tree and remove its folder."""
        tree.stop()
        shutil.rmtree(tree.output.parent, ignore_errors=True)

    def rate(self, system: System, concurrency: int, handler: Handler, measure: Callable[[int], float]) -> float:
        """Events a second by a calibrating run, which is made once: of ever more events until it lasts long enough."""
        known = (self.on, system.key, concurrency, handler)
        if known not in self.rates:
            events = 200 if handler == "noop" else 2 * concurrency + 100
            while True:
                self.server.empty()
                rate = measure(events)
                if events / rate > _LEAST or events >= self.options.most_events:
                    break
                events = min(self.options.most_events, events * 8)
            self.rates[known] = rate
        return self.rates[known]

    def _start(self, system: System, arguments: list[str], variables: dict[str, str]) -> ProcessTree:
        environment = self.environments[system.key]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        inherited = {key: os.environ[key] for key in ("HOME", "LANG", "PATH", "TMPDIR") if key in os.environ}
        own = {"BENCH_URL": self.server.url, "BENCH_FOLDER": str(folder), "OXHERD_URL": self.server.url}
        return ProcessTree(
            [environment.interpreter, *arguments],
            system.home,
            inherited | environment.variables | own | variables,
            folder / "output",
        )


@dataclass
class Working:
    """A running worker and what it has handled."""

    tree: ProcessTree
    count: Count
    system: System

    def wait(self, events: int, every: float = 0.005, watch: Callable[[int], None] | None = None) -> float:
        """Wait until so many events were handled; the moment at which that was seen."""
        seen, changed = -1, time.perf_counter()
        while True:
            total = self.count.total()
            now = time.perf_counter()
            if watch is not None:
                watch(total)
            if total >= events:
                return now
            if total != seen:
                seen, changed = total, now
            elif not self.tree.running:
                raise RunFailed(f"the worker ended after {total} of {events} events: {self.tree.complaint()}")
            elif now - changed > _SILENCE:
                raise RunFailed(f"the worker is silent after {total} of {events} events: {self.tree.complaint()}")
            time.sleep(every)

    def conclude(self, server: Server, events: int) -> dict[str, int]:
        """Wait until nothing is left, stop, and check that exactly so many events were handled."""
        deadline = time.perf_counter() + _SILENCE
        while (left := server.left(self.system)) and time.perf_counter() < deadline:
            time.sleep(0.02)
        found = self.ended(events)
        if left:
            raise RunFailed(f"{left} of {events} events are left")
        return found | {"left": left}

    def ended(self, events: int) -> dict[str, int]:
        """Stop, and check that exactly so many events were handled."""
        self.tree.stop()
        found = {"events": events, "counted": self.count.total()}
        if self.system.own_log:
            found |= logged(self.tree.output)
        if any(number != events for number in found.values()):
            raise RunFailed("the events do not add up: " + ", ".join(f"{name} {found[name]}" for name in found))
        return found


def logged(file: Path) -> dict[str, int]:
    """The begin and completed records of a JSON log."""
    found = {"logged_begins": 0, "logged_ends": 0}
    with file.open("rb") as lines:
        for line in lines:
            if b'"msg":"event.begin"' in line:
                found["logged_begins"] += 1
            elif b'"msg":"event.end"' in line and b'"outcome":"completed"' in line:
                found["logged_ends"] += 1
    return found


def _script(system: System) -> str:
    return "app.cjs" if system.kind == "node" else "app.py"


def say(line: str) -> None:
    """Progress, line by line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
