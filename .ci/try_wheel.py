"""Uses the installed package as a newcomer would, in an empty folder: `alone`, without an extra, or `embedded`.

Alone there is no server, so what needs one must say how to get one; all else must work.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import asyncio
from oxherd import Oxherd

herd = Oxherd()

@herd.event("order.placed")
async def order_placed(number: int) -> int:
    return number + 1

async def main() -> None:
    async with herd:
        await herd.start()
        print(await (await order_placed.emit(1)).result(timeout=30))

if __name__ == "__main__":
    asyncio.run(main())
"""
# What needs an extra says which.
EXTRAS = {
    "from program import herd; from oxherd.dashboard import dashboard; dashboard(herd)": "oxherd[dashboard]",
    "from oxherd.sse import updates_route": "oxherd[sse]",
    "from program import herd; from oxherd.telemetry.prometheus import Metrics; Metrics(herd)": "oxherd[prometheus]",
}


def run(*command: str, status: int = 0) -> str:
    """The output of a command that must end with that status."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode != status:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, not {status}:\n{said}")
    return said


def must_say(words: str, said: str) -> None:
    """End where a text lacks some words."""
    if words not in said:
        raise SystemExit(f"this should say {words!r}:\n{said}")


def alone() -> None:
    """Without a server."""
    oxherd = str(Path(sys.executable).with_name("oxherd"))
    must_say(importlib.metadata.version("oxherd"), run(oxherd, "--version"))
    run(oxherd, "--help")
    Path("program.py").write_text(PROGRAM)
    must_say("oxherd[embedded]", run(sys.executable, "program.py", status=1))
    must_say("oxherd[embedded]", run(oxherd, "demo", status=1))
    run(oxherd, "worker", "program:nothing", status=2)
    for code, extra in EXTRAS.items():
        must_say(extra, run(sys.executable, "-c", code, status=1))
    began = time.perf_counter()
    run(sys.executable, "-c", "import oxherd")
    bare = time.perf_counter()
    run(sys.executable, "-c", "from oxherd import Oxherd")
    names = {each.metadata["Name"] for each in importlib.metadata.distributions()} - {"pip", "setuptools", "oxherd"}
    print(
        f"{len(names)} distributions with it;"
        f" import oxherd {bare - began:.2f} s, with the queue {time.perf_counter() - bare:.2f} s (a process each)"
    )


def embedded() -> None:
    """With the embedded server."""
    must_say("2", run(sys.executable, "program.py"))
    print(run(str(Path(sys.executable).with_name("oxherd")), "demo").splitlines()[-1])


if __name__ == "__main__":
    {"alone": alone, "embedded": embedded}[sys.argv[1]]()
