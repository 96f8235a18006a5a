"""A worker or producer as a process tree: start, processor time, memory, end. Linux, since it reads /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GRACE = 8.0  # seconds between SIGTERM and SIGKILL


class ProcessTree:
    """A process and its descendants."""

    def __init__(self, command: list[str], folder: Path, variables: dict[str, str], output: Path) -> None:
        self.output = output
        with output.open("ab") as file:
            # A session of its own: Ctrl-C reaches us alone, and we end it in order.
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the first process is alive."""
        return self.process.poll() is None

    def pids(self) -> list[int]:
        """The process and its descendants, as of now."""
        children: dict[int, list[int]] = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def cpu_seconds(self) -> float:
        """Processor time of the tree so far, user and system, children that ended included."""
        fields = [_stat(pid) for pid in self.pids()]
        return sum(sum(map(int, one[11:15])) for one in fields if one) / _TICK

    def rss(self) -> int:
        """Resident bytes of the tree."""
        total = 0
        for pid in self.pids():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            except (OSError, IndexError):
                continue
        return total

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each process of the tree."""
        for pid in self.pids():
            _send(pid, number)

    def stop(self) -> None:
        """End the tree: SIGTERM to the first process, SIGKILL to whatever is left of it after a while."""
        tree = self.pids()
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                tree = self.pids()
                self.process.kill()
                self.process.wait()
        deadline = time.monotonic() + 1.0
        while (alive := [pid for pid in tree[1:] if _in_session(pid, self.process.pid)]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.02)
        for pid in alive:
            _send(pid, signal.SIGKILL)

    def complaint(self) -> str:
        """The last line that it wrote, or the last that names an error, for a failure's reason."""
        lines = [line.strip() for line in self.output.read_text(errors="replace").splitlines() if line.strip()]
        named = [line for line in lines if "Error" in line]
        return (named or lines or ["it wrote nothing"])[-1][:160]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name, from the state on; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _in_session(pid: int, session: int) -> bool:
    """Whether that process is alive and of the session that we opened: a pid may have been given anew."""
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z" and int(fields[3]) == session


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
