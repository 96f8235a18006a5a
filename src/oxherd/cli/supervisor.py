"""Runs several worker processes: starts them, replaces those that end, and stops them together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from oxherd.cli.pool_health import PoolHealth
from oxherd.cli.reload import scan, watch
from oxherd.cli.retirement import RetirementNotice
from oxherd.cli.supervisor_channel import SupervisorChannel, supervised_environment
from oxherd.context import enabled_logger
from oxherd.redis.retry import retry_delay
from oxherd.worker.executors.interpreter import module_command

_WRONG_USAGE = 2
# After a worker has run this long, the delay before its replacement starts from the shortest again.
_HEALTHY_SECONDS = 10.0


def supervise(
    arguments: list[str],
    *,
    processes: int,
    reload: bool,
    health: PoolHealth | None = None,
    max_events: int | None = None,
) -> int:
    """Run `oxherd worker ARGUMENTS` in `processes` processes until SIGTERM or SIGINT; returns the exit status.

    0 if all ended with 0 at the stop, 2 if one ended with 2 (wrong usage), else 1. With `reload` the workers restart
    when a Python file below the current folder changes, also after wrong usage.
    With `max_events` a worker that has processed so many drains, while another takes its place.
    """
    return asyncio.run(_Supervisor(arguments, reload=reload, health=health, max_events=max_events).run(processes))


class _Supervisor:
    def __init__(
        self, arguments: list[str], *, reload: bool, health: PoolHealth | None, max_events: int | None
    ) -> None:
        self._command = module_command("oxherd", "worker", *arguments)
        self._reload = reload
        self._health = health
        self._max_events = max_events
        self._notices: dict[Process, RetirementNotice] = {}
        self._retired: set[asyncio.Task[int]] = set()
        self._alive: set[Process] = set()
        self._restarting: set[Process] = set()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self, processes: int) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        watching = None
        if self._reload:
            # Before any worker starts: what changes from now on is not what it has imported.
            watching = loop.create_task(watch(Path.cwd(), scan(Path.cwd()), self._restart), name="oxherd-watch")
        statuses = await asyncio.gather(*(self._keep_running() for _ in range(processes)))
        statuses += await asyncio.gather(*self._retired)
        if watching is not None:
            watching.cancel()
        if _WRONG_USAGE in statuses and not self._reload:
            return _WRONG_USAGE
        return 1 if any(statuses) else 0

    async def _keep_running(self) -> int:
        """Run one worker after the other until the stop; returns the last one's exit status."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._changed.clear()
            began = loop.time()
            process = await self._start()
            if await self._retires(process):
                failures = 0
                continue
            status = await self._wait(process)
            if self._stopping.is_set():
                return status
            if process in self._restarting:
                self._restarting.discard(process)
                failures = 0
                continue
            if status == _WRONG_USAGE and not self._reload:
                self._stop()
                return status
            failures = 1 if loop.time() - began >= _HEALTHY_SECONDS else failures + 1
            delay = None if status == _WRONG_USAGE else retry_delay(failures, first=0.1, longest=10.0)
            _log_end(process.pid, status, delay)
            await self._sleep(delay)
            if self._stopping.is_set():
                return status

    async def _start(self) -> Process:
        channel = None if self._health is None else SupervisorChannel()
        descriptor = None if channel is None else channel.worker_end.fileno()
        notice = None if self._max_events is None else RetirementNotice()
        environment = supervised_environment(descriptor)
        if notice is not None and self._max_events is not None:
            environment |= notice.environment(self._max_events)
        passed = (descriptor, None if notice is None else notice.worker_end)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                env=environment,
                # In its own session: a terminal's Ctrl-C reaches the supervisor, which passes it on once.
                start_new_session=True,
                pass_fds=[each for each in passed if each is not None],
            )
        finally:
            if channel is not None:
                channel.worker_end.close()
            if notice is not None:
                notice.passed()
        if self._health is not None and channel is not None:
            self._health.add(process.pid, channel)
        if notice is not None:
            self._notices[process] = notice
        self._alive.add(process)
        if self._stopping.is_set():
            _terminate(process)
        return process

    async def _retires(self, process: Process) -> bool:
        """Wait until a worker ends, or has processed enough: then it drains beside the next one, which starts now."""
        notice = self._notices.get(process)
        if notice is None:
            return False
        waits = [asyncio.ensure_future(wait) for wait in (process.wait(), notice.announced.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not notice.announced.is_set() or self._stopping.is_set() or process in self._restarting:
            return False
        if self._health is not None:
            self._health.retire(process.pid)
        retired = asyncio.get_running_loop().create_task(self._drained(process), name="oxherd-retired")
        self._retired.add(retired)
        # Those that end at the stop have a say in its status.
        retired.add_done_callback(lambda task: self._stopping.is_set() or self._retired.discard(task))
        return True

    async def _drained(self, process: Process) -> int:
        status = await self._wait(process)
        if status and not self._stopping.is_set() and process not in self._restarting:
            enabled_logger().warning("worker process %d ended (%s) while it drained", process.pid, _how(status))
        self._restarting.discard(process)
        return status

    async def _wait(self, process: Process) -> int:
        status = await process.wait()
        self._alive.discard(process)
        if (notice := self._notices.pop(process, None)) is not None:
            notice.close()
        if self._health is not None:
            self._health.remove(process.pid)
        # Ended by SIGTERM before it handled signals, and so before it processed anything.
        early = status == -signal.SIGTERM and (self._stopping.is_set() or process in self._restarting)
        return 0 if early else status

    async def _sleep(self, seconds: float | None) -> None:
        """Sleep `seconds` (None: for ever), or until a change or the stop."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._changed)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _stop(self) -> None:
        self._stopping.set()
        if self._health is not None:
            self._health.stopping = True
        for process in self._alive:
            _terminate(process)

    def _restart(self, files: list[str]) -> None:
        if self._stopping.is_set():
            return
        enabled_logger().info("%s changed; restarting the workers", ", ".join(files[:3]))
        self._changed.set()
        for process in self._alive - self._restarting:
            self._restarting.add(process)
            _terminate(process)


def _terminate(process: Process) -> None:
    # Not process.terminate(): it reaps a process that has just ended, and asyncio then reports the status 255.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _log_end(pid: int, status: int, delay: float | None) -> None:
    when = "at the next change" if delay is None else f"in {delay:.1f} s"
    fields = {"pid": pid, "status": status}
    enabled_logger().warning("worker process %d ended (%s); starting another %s", pid, _how(status), when, extra=fields)
