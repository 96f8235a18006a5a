"""Runs one target under atheris: `python -m tests.fuzz.guided NAME RUNS SEED CRASHES INPUTS`."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
import traceback
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

# Known without an import of the targets: atheris instruments what is imported under its eyes.
NAMES = (
    "job", "payload", "sealed", "log-reader", "log-writer", "cli-emit", "cli-words", "url", "url-good", "cron", "every",
    "frames",
)  # fmt: skip
_LONGEST = 4_096
_HANG_SECONDS = 600  # by the clock, and a machine may be held up; `in_time` tells the slow ones
_MEBIBYTES = 3_072
_FIRST_INPUTS = 300
_PROGRESS = 10_000


class Session:
    """Counts the inputs of a run and keeps those that crash, one for each place."""

    def __init__(self, target: Any, runs: int, folder: Path) -> None:
        self._target = target
        self._runs = runs
        self._folder = folder
        self._places: set[str] = set()
        self._inputs = 0
        self._began = time.monotonic()

    def __call__(self, data: bytes) -> None:
        try:
            self._target(data)
        except Exception as error:  # noqa: BLE001 - whatever a target raises is what is looked for
            self._keep(data, error)
        self._inputs += 1
        if self._inputs % _PROGRESS == 0:
            self._tell(sys.stderr, "")
        if self._inputs >= self._runs:
            self._tell(sys.stdout, "\n")
            # libFuzzer would go on, and ends its process without Python's own end.
            os._exit(1 if self._places else 0)

    def _tell(self, stream: Any, end: str) -> None:
        seconds = round(time.monotonic() - self._began, 1)
        told = {"inputs": self._inputs, "seconds": seconds, "crashes": len(self._places)}
        stream.write(json.dumps(told) + (end or "\n"))
        stream.flush()

    def _keep(self, data: bytes, error: Exception) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"
        if place in self._places:
            return
        self._places.add(place)
        kept = self._folder / f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:12]}"
        kept.write_bytes(data)
        sys.stderr.write(f"crash, kept as {kept}:\n{''.join(traceback.format_exception(error))[-6_000:]}\n")


def main(name: str, runs: int, seed: int, crashes: Path, inputs: Path) -> None:
    """Run a target until there were so many inputs; the first ones are laid into the folder `inputs`."""
    atheris: Any = import_module("atheris")
    # It names each module that it instruments.
    with redirect_stderr(StringIO()), atheris.instrument_imports(include=["oxherd"]):
        targets = import_module("tests.fuzz.targets").TARGETS
    assert tuple(targets) == NAMES
    chance = random.Random(seed)
    for number in range(_FIRST_INPUTS):
        (inputs / str(number)).write_bytes(chance.randbytes(chance.choice((4, 20, 100, 500, 2_000))))
    options = [
        f"-seed={seed}", f"-max_len={_LONGEST}", f"-timeout={_HANG_SECONDS}", f"-rss_limit_mb={_MEBIBYTES}",
        "-len_control=0", "-verbosity=0", f"-artifact_prefix={crashes}/", str(inputs),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], Session(targets[name], runs, crashes))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
