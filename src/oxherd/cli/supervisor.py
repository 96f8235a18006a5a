"""Keeps several worker processes running: starts, restarts, and stops them together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from oxherd.cli.pool_health import Fleet
from oxherd.cli.reload import look, watch
from oxherd.cli.supervisor_channel import Channel
from oxherd.cli.supervisor_environment import environment
from oxherd.redis.retry import retry_delay

_WRONG_USAGE = 2
# One that lived for so long was healthy: its end is news, and no sign that the next would end, too.
_HEALTHY_SECONDS = 10.0

logger = logging.getLogger("oxherd")


def supervise(arguments: list[str], *, processes: int, reload: bool, fleet: Fleet | None = None) -> int:
    """Run `oxherd worker ARGUMENTS` in so many processes until SIGTERM or SIGINT; the exit status.

    0 when all have ended with 0 at the stop, 2 when one says wrong usage (unless `reload`: it is started again at the
    next change of a Python file below the current folder), else 1. `fleet` is told of the workers.
    """
    return asyncio.run(_Supervisor(arguments, reload=reload, fleet=fleet).run(processes))


class _Supervisor:
    def __init__(self, arguments: list[str], *, reload: bool, fleet: Fleet | None) -> None:
        self._command = [sys.executable, "-m", "oxherd", "worker", *arguments]
        self._reload = reload
        self._fleet = fleet
        self._alive: set[Process] = set()
        self._replaced: set[Process] = set()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self, processes: int) -> int:
        """Keep so many workers until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        watching = None
        if self._reload:
            # Before any worker is started: what changes from now on is not what it has imported.
            watching = loop.create_task(watch(Path.cwd(), look(Path.cwd()), self._replace), name="oxherd-watch")
        statuses = await asyncio.gather(*(self._keep() for _ in range(processes)))
        if watching is not None:
            watching.cancel()
        if _WRONG_USAGE in statuses and not self._reload:
            return _WRONG_USAGE
        return 1 if any(statuses) else 0

    async def _keep(self) -> int:
        """Start one worker after the other until the stop; the last one's status."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._changed.clear()
            began = loop.time()
            process = await self._start()
            status = await self._ended(process)
            if self._stopping.is_set():
                return status
            if process in self._replaced:
                self._replaced.discard(process)
                failures = 0
                continue
            if status == _WRONG_USAGE and not self._reload:
                self._stop()
                return status
            failures = 1 if loop.time() - began >= _HEALTHY_SECONDS else failures + 1
            pause = None if status == _WRONG_USAGE else retry_delay(failures, first=0.1, longest=10.0)
            _report(process.pid, status, pause)
            await self._pause(pause)
            if self._stopping.is_set():
                return status

    async def _start(self) -> Process:
        # In a session of its own: a terminal's Ctrl-C reaches the supervisor, which passes it on once.
        channel = Channel() if self._fleet is not None else None
        questions = () if channel is None else (channel.theirs.fileno(),)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                env=environment(*questions or (None,)),
                start_new_session=True,
                pass_fds=questions,
            )
        finally:
            if channel is not None:
                channel.theirs.close()
        if self._fleet is not None and channel is not None:
            self._fleet.began(process.pid, channel)
        self._alive.add(process)
        if self._stopping.is_set():
            _terminate(process)
        return process

    async def _ended(self, process: Process) -> int:
        status = await process.wait()
        self._alive.discard(process)
        if self._fleet is not None:
            self._fleet.ended(process.pid)
        # It was told to stop before it had begun to listen, and so before it had begun to work.
        early = status == -signal.SIGTERM and (self._stopping.is_set() or process in self._replaced)
        return 0 if early else status

    async def _pause(self, seconds: float | None) -> None:
        """Wait so long, or for a change or the stop."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._changed)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _stop(self) -> None:
        self._stopping.set()
        if self._fleet is not None:
            self._fleet.stopping = True
        for process in self._alive:
            _terminate(process)

    def _replace(self, files: list[str]) -> None:
        if self._stopping.is_set():
            return
        logger.info("%s changed; the workers are started again", ", ".join(files[:3]))
        self._changed.set()
        for process in self._alive - self._replaced:
            self._replaced.add(process)
            _terminate(process)


def _terminate(process: Process) -> None:
    # Not process.terminate(): that reaps a process which has just ended, and asyncio then reports the status 255.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)


def _report(pid: int, status: int, pause: float | None) -> None:
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    then = "at the next change" if pause is None else f"in {pause:.1f} s"
    fields = {"pid": pid, "status": status}
    logger.warning("worker process %d ended (%s); another is started %s", pid, how, then, extra=fields)
