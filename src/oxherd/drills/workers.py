"""The workers of a drill: processes started from the command line, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from oxherd.drills.app import VARIABLE, Setup
from oxherd.errors import OxherdError
from oxherd.servers.polling import wait_for

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class Worker:
    """One worker process. `killed` is when the drill, or its own handler, killed it."""

    def __init__(self, folder: Path, name: str, url: str, setup: Setup) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.killed: float | None = None
        # In the environment: everybody can read a command line.
        environment = os.environ | {"OXHERD_URL": url, VARIABLE: setup.json()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oxherd", "worker", "oxherd.drills.app:herd", "--log-format", "json"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_started(self) -> None:
        """Return once it takes events."""
        wait_for(lambda: self._has_started() or self.process.poll() is not None, timeout=_START_SECONDS)
        if not self._has_started():
            raise OxherdError(f"The drill's worker {self.name} did not start: {self._last_words()}.")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if number == signal.SIGKILL:
            self.killed = time.time()
        self.process.send_signal(number)

    def stop(self) -> int | None:
        """SIGTERM, and its exit status; None where it had to be killed because it did not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def died(self) -> bool:
        """Whether it was killed by something else than us, such as its own handler; notes when."""
        status = self.process.poll()
        if status is not None and status < 0 and self.killed is None:
            self.killed = time.time()
        return self.killed is not None and status is not None

    def end(self) -> None:
        """End it for certain."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _has_started(self) -> bool:
        return b"worker.start" in self.log.read_bytes()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[:500] or "it said nothing"
