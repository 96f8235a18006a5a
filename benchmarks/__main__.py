"""`python -m benchmarks`: oxherd beside other queues, the same work on the same server, in turns.

It makes each peer's environment under benchmarks/.envs, needs a package index for that (and Node.js with npm for
two peers), runs on Linux, and writes README.md, results.json and plots.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import measure_drain, measure_emit, measure_growth, measure_io, measure_latency, measure_scale
from benchmarks.bench import Bench, Options, say
from benchmarks.environments import ROOT, EnvironmentFailed, environment_of
from benchmarks.plan import Runs, plan_lines
from benchmarks.report import write_report
from benchmarks.results import read_sections, write_results
from benchmarks.server import BUNDLED, REDIS, Server, redis_binary
from benchmarks.systems import SYSTEMS, System, named

_MEASUREMENTS: dict[str, Runs] = {
    "drain": measure_drain.runs,
    "emit": measure_emit.runs,
    "latency": measure_latency.runs,
    "io": measure_io.runs,
    "growth": measure_growth.runs,
    "scale": measure_scale.runs,
}
_ONLY = "those alone: of results.json and the report, only their sections are replaced"
_SERVERS = f"where drain is measured: {BUNDLED}, the bundled one, and {REDIS}, the redis-server of the PATH"
_GROWTH = "those whose backlog grows to a million; oxherd and bullmq-node unless given"


def main() -> int:
    """The exit status: 1 where anything failed."""
    signal.signal(signal.SIGTERM, _terminated)
    given = _arguments()
    options, begun = _options(given), time.monotonic()
    if given.plan:
        for line in plan_lines({name: _MEASUREMENTS[name] for name in given.only}, options, named(given.systems)):
            say(line)
        return 0
    try:
        status = 0 if given.report else _measure(given, options)
    except KeyboardInterrupt:
        say("interrupted: every process is ended; what was measured is in results.json")
        return 130
    try:
        write_report(given.out, plots=not given.no_plots)
    except EnvironmentFailed as error:
        say(f"FAILED {error}")
        return 1
    say(f"the report is {given.out / 'README.md'}, after {(time.monotonic() - begun) / 60:.1f} minutes")
    return status


def _options(given: argparse.Namespace) -> Options:
    quick: bool = given.quick
    servers = [name for name in given.servers if name != REDIS or redis_binary() is not None]
    if servers != given.servers and not given.report:
        say("no redis-server is on the PATH: nothing is measured on it")
    return Options(
        rounds=1 if quick else given.rounds,
        seconds=0.3 if quick else given.seconds,
        quick=quick,
        most_events=20_000 if quick else 200_000,
        latency_events=50 if quick else given.latency_events,
        loads=(500, 2000) if quick else Options.loads,
        growth_systems=tuple(given.growth_systems),
        servers=tuple(servers),
    )


def _measure(given: argparse.Namespace, options: Options) -> int:
    earlier = read_sections(given.out)
    with ExitStack() as stack:
        # The bundled one also where drain is not measured on it: everything else is.
        servers = {BUNDLED: stack.enter_context(Server())}
        if REDIS in options.servers:
            servers[REDIS] = stack.enter_context(Server(redis_binary()))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="oxherd-benchmarks-"))
        bench = Bench(servers, options, Path(folder))
        systems = [system for system in named(given.systems) if _prepared(bench, system)]
        try:
            for bench.round in range(1, options.rounds + 1):
                for name in given.only:
                    say(f"round {bench.round} of {options.rounds}: {name}")
                    for run in _MEASUREMENTS[name](bench, systems):
                        bench.attempt(run)
        finally:
            # Also what an interruption left is worth reading.
            write_results(bench, given.out, named(given.systems), earlier)
    for failure in bench.failures:
        say("FAILED " + " ".join(str(failure[key]) for key in ("system", "measurement", "case", "server", "reason")))
    return 1 if bench.failures else 0


def _prepared(bench: Bench, system: System) -> bool:
    say(f"environment of {system.key}")
    try:
        bench.environments[system.key] = environment_of(system)
    except EnvironmentFailed as error:
        bench.failed(system, "environment", "", str(error))
        return False
    for setting in (*system.packages, *system.settings):
        say(f"  {setting}")
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    known = [system.key for system in SYSTEMS]
    parser.add_argument(
        "--only", type=_words(list(_MEASUREMENTS)), default=list(_MEASUREMENTS), metavar="drain,...", help=_ONLY
    )
    parser.add_argument("--systems", type=_words(known), default=[], metavar="oxherd,...", help=", ".join(known))
    parser.add_argument("--servers", type=_words([BUNDLED, REDIS]), default=[BUNDLED, REDIS], help=_SERVERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one run takes")
    parser.add_argument("--latency-events", type=int, default=300, help="emitted to an idle worker, in each round")
    parser.add_argument("--growth-systems", type=_words(known), default=[], metavar="oxherd,...", help=_GROWTH)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: to see that all works")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--report", action="store_true", help="write the report anew from results.json, run nothing")
    parser.add_argument("--plan", action="store_true", help="list what would be run, and about how long it takes")
    parser.add_argument("--no-plots", action="store_true")
    return parser.parse_args()


def _words(known: list[str]) -> Callable[[str], list[str]]:
    def words(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [word for word in found if word not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return found

    return words


def _terminated(*_: object) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
