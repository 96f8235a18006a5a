"""`oxherd worker`: sets up logging, then processes events in this process or in supervised ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import NoReturn, TypedDict, Unpack

from oxherd.app import Oxherd
from oxherd.cli.herd_loader import load_herd
from oxherd.cli.pool_health import PoolHealth
from oxherd.cli.retirement import retirement
from oxherd.cli.supervisor_channel import follow_supervisor, serve_supervisor
from oxherd.context import enabled_logger
from oxherd.telemetry.http.endpoint import Address, Source, parse_address, serving
from oxherd.telemetry.http.health_source import ProcessSource
from oxherd.telemetry.logs.setup import set_up_logging, set_up_missing_logging
from oxherd.worker.main import run as run_worker

# The module of the herd sets up logging; where it does not, the console's is set up.
_APPLICATION = "application"


def run(target: str, events: list[str] | None, **options: Unpack[WorkerOptions]) -> int:
    """Run a worker; returns its exit status."""
    told: list[int] = []

    def on_signal(number: int, _: object) -> NoReturn:
        # Until the worker handles signals itself, there is nothing to drain.
        told.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        return _run(target, events, told, **options)
    except BaseException:
        # Whatever the module that was imported has made of it.
        if not told:
            raise
    if told[0] == signal.SIGINT:
        raise KeyboardInterrupt
    return 0


class _Terminated(BaseException):
    """SIGTERM. No SystemExit, which the imported module may raise itself."""


class WorkerOptions(TypedDict):
    """The options of `oxherd worker`."""

    processes: int
    reload: bool
    log_format: str
    stop_timeout: float | None
    health: str | None
    max_events: int | None


def _run(
    target: str,
    events: list[str] | None,
    told: list[int],
    *,
    processes: int,
    reload: bool,
    log_format: str,
    stop_timeout: float | None,
    health: str | None,
    max_events: int | None,
) -> int:
    if log_format != _APPLICATION:
        set_up_logging(log_format)
    address = None if health is None else parse_address(health)
    supervised = processes > 1 or reload or max_events is not None
    channel = None if supervised else follow_supervisor()
    retires = None if supervised else retirement()
    # Before any worker process starts, so that wrong usage is reported once.
    herd = _load(target, told, log_format)
    if herd.server.folder is not None:
        # A handler's process imports the herd, but by another module than ours.
        os.environ["OXHERD_PROJECT"] = str(herd.server.folder)
    for event in events or ():
        herd[event]
    if supervised:
        from oxherd.cli.supervisor import supervise

        arguments = [target, "--log-format", log_format]
        for event in events or ():
            arguments += ["--event", event]
        if stop_timeout is not None:
            arguments += ["--stop-timeout", str(stop_timeout)]
        pool = PoolHealth(processes) if address else None
        with _endpoint(address, pool) if address and pool else nullcontext():
            return supervise(arguments, processes=processes, reload=reload, health=pool, max_events=max_events)
    if channel is not None:
        serve_supervisor(channel, ProcessSource(herd))
    with _endpoint(address, ProcessSource(herd)) if address else nullcontext():
        timeout = herd.stop_timeout if stop_timeout is None else stop_timeout
        if retires is None:
            return run_worker(herd, events or None, timeout, ends_process=True)
        most, announce = retires.max_events, retires.announce
        return run_worker(herd, events or None, timeout, ends_process=True, max_events=most, on_retirement=announce)


def _load(target: str, told: list[int], log_format: str) -> Oxherd:
    herd = load_herd(target, told)
    if log_format == _APPLICATION:
        set_up_missing_logging()
    if told:
        raise _Terminated  # which the module has swallowed
    return herd


@contextmanager
def _endpoint(address: Address, source: Source) -> Generator[None]:
    with serving(address, source) as bound:
        enabled_logger().info("health endpoint at http://%s", bound)
        yield
