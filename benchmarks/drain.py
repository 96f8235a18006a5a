"""How fast one worker process drains no-op events, beside Node's BullMQ: the same server, in turns, in one run.

    python -m benchmarks.drain [--events 50000] [--rounds 4]

oxherd writes its begin and end log as JSON to a file; Node's BullMQ logs nothing. Needs Node.js and npm.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oxherd import Oxherd
from oxherd.servers.standalone import StandaloneServer
from tests.harness import environment, read_records
from tests.node import node_packages

APP = """
from oxherd import Oxherd
herd = Oxherd()

@herd.event("noop", concurrency=100)
async def noop(payload: dict[str, int]) -> None:
    pass
"""


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    ours: list[float] = []
    theirs: list[float] = []
    with StandaloneServer() as server, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_text(APP)
        for number in range(1, options.rounds + 1):
            ours.append(oxherd(server.url, Path(folder), options.events))
            theirs.append(node(server.url, options.events))
            say(f"round {number}: oxherd {ours[-1]:8,.0f}   bullmq (Node) {theirs[-1]:8,.0f} events/s")
    mine, other = statistics.median(ours), statistics.median(theirs)
    say(f"medians: oxherd {mine:8,.0f}   bullmq (Node) {other:8,.0f} events/s   ratio {mine / other:.2f}")


def oxherd(url: str, folder: Path, events: int) -> float:
    """Events a second, from the worker's start record to its last end record; all are counted."""
    herd = Oxherd(url)
    herd.declare("noop", dict[str, int]).emit_many_sync([{"n": n} for n in range(events)])
    herd.close_sync()
    log = folder / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "oxherd", "worker", "app:herd", "--log-format", "json"]
        worker = subprocess.Popen(command, cwd=folder, env=environment(OXHERD_URL=url), stderr=file)
        size = -1
        while size != (size := log.stat().st_size) or not size:
            time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    records = list(read_records(log))
    ends = [record["ts"] for record in records if record.get("outcome") == "completed"]
    if len(ends) != events:
        raise SystemExit(f"{len(ends)} of {events} events were completed")
    begun = next(record["ts"] for record in records if record["msg"] == "worker.start")
    return events / (seconds(ends[-1]) - seconds(begun))


def node(url: str, events: int) -> float:
    """Events a second of Node's worker, from its making to its last completed job."""
    command = ["node", str(Path(__file__).with_suffix(".cjs")), str(node_packages()), url, str(events)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if any(answer["left"].values()):
        raise SystemExit(f"Node left {answer['left']}")
    return events / answer["seconds"]


def seconds(stamp: str) -> float:
    """The seconds of the day of a record's `ts`."""
    hours, minutes, rest = stamp[11:-1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def say(line: str) -> None:
    """Progress and result, line by line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
