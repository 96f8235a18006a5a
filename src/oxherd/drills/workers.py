"""Starts a drill's workers from the command line, each with its own log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from oxherd.drills.app import SETUP_VARIABLE, Setup
from oxherd.errors import OxherdError
from oxherd.servers.polling import wait_for
from oxherd.worker.executors.interpreter import module_command

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class Worker:
    """One worker process; `killed` is when the drill or a handler killed it."""

    def __init__(self, folder: Path, name: str, url: str, setup: Setup) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.killed: float | None = None
        # Not on the command line, which every user can read.
        environment = os.environ | {"OXHERD_URL": url, SETUP_VARIABLE: setup.json()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                module_command("oxherd", "worker", "oxherd.drills.app:herd", "--log-format", "json"),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_started(self) -> None:
        """Return when it processes events."""
        wait_for(lambda: self._has_started() or self.process.poll() is not None, timeout=_START_SECONDS)
        if not self._has_started():
            raise OxherdError(f"The drill's worker {self.name} did not start: {self._last_lines()}.")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if number == signal.SIGKILL:
            self.killed = time.time()
        self.process.send_signal(number)

    def stop(self) -> int | None:
        """Send SIGTERM and return its exit status; None if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def died(self) -> bool:
        """Whether it was killed, by the drill or by a handler; the first time notes when."""
        status = self.process.poll()
        if status is not None and status < 0 and self.killed is None:
            self.killed = time.time()
        return self.killed is not None and status is not None

    def kill(self) -> None:
        """Kill it if it runs, and wait for its end."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _has_started(self) -> bool:
        return b"worker.start" in self.log.read_bytes()

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[:500] or "it logged nothing"
