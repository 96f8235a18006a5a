"""`oxherd worker`: sets up logging, then processes events in this process or in supervised ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from oxherd.cli.herd_loader import load_herd
from oxherd.cli.pool_health import PoolHealth
from oxherd.cli.supervisor_channel import follow_supervisor, serve_supervisor
from oxherd.context import enabled_logger
from oxherd.telemetry.http.endpoint import Address, Source, parse_address, serving
from oxherd.telemetry.http.health_source import ProcessSource
from oxherd.telemetry.logs.setup import set_up_logging
from oxherd.worker.main import run as run_worker


def run(
    target: str,
    events: list[str] | None,
    *,
    processes: int,
    reload: bool,
    log_format: str,
    stop_timeout: float | None,
    health: str | None = None,
) -> int:
    """Run a worker; returns its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    set_up_logging(log_format)
    address = None if health is None else parse_address(health)
    supervised = processes > 1 or reload
    channel = None if supervised else follow_supervisor()
    # Before any worker process starts, so that wrong usage is reported once.
    herd = load_herd(target)
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
            return supervise(arguments, processes=processes, reload=reload, health=pool)
    if channel is not None:
        serve_supervisor(channel, ProcessSource(herd))
    with _endpoint(address, ProcessSource(herd)) if address else nullcontext():
        return run_worker(herd, events or None, herd.stop_timeout if stop_timeout is None else stop_timeout)


@contextmanager
def _endpoint(address: Address, source: Source) -> Generator[None]:
    with serving(address, source) as bound:
        enabled_logger().info("health endpoint at http://%s", bound)
        yield


def _exit(*_: object) -> NoReturn:
    # Until the worker handles signals itself, there is nothing to drain.
    raise SystemExit(0)
