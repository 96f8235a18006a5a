"""`python -m tests.fuzz`: runs each target under atheris in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.guided import NAMES


def main() -> int:
    """The exit status: 0 only when every target was run, and none crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each target (100000)")
    parser.add_argument("--seed", type=int, default=1, help="what is left to chance is decided by it (1)")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="where inputs that crash are kept")
    given = parser.parse_args()
    if find_spec("atheris") is None:
        parser.error("atheris is not installed; it has wheels for Linux on x86-64 and CPython 3.11 to 3.13")
    given.crashes.mkdir(parents=True, exist_ok=True)
    crashed = [name for name in given.target or NAMES if _run(name, given.runs, given.seed, given.crashes)]
    if not crashed and not any(given.crashes.iterdir()):
        given.crashes.rmdir()
    return 1 if crashed else 0


def _run(name: str, runs: int, seed: int, crashes: Path) -> bool:
    """One target; whether it crashed, or did not come to its end."""
    with tempfile.TemporaryDirectory(prefix="oxherd-fuzz-") as inputs:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(runs), str(seed), str(crashes), inputs]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    said = [line for line in process.stdout.splitlines() if line.startswith("{")]
    if not said:
        print(f"{name:<12}did not come to its end (exit status {process.returncode})", flush=True)
        return True
    told = json.loads(said[-1])
    print(f"{name:<12}{told['inputs']:>8} inputs{told['seconds']:>9.1f} s{told['crashes']:>6} crashes", flush=True)
    return bool(told["crashes"])


if __name__ == "__main__":
    sys.exit(main())
