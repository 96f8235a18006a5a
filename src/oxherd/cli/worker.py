"""`oxherd worker`: sets up logging, and processes in this process or under a supervisor."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from oxherd.cli.herd_loader import load_herd
from oxherd.cli.pool_health import Fleet
from oxherd.cli.supervisor_channel import answer
from oxherd.cli.supervisor_environment import follow_supervisor
from oxherd.context import ContextFilter
from oxherd.telemetry.http.endpoint import Address, Source, parse_address, serving
from oxherd.telemetry.http.health_source import ProcessSource
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler
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
    """The worker's exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing_runs_yet)
    set_up_logging(log_format)
    address = None if health is None else parse_address(health)
    supervised = processes > 1 or reload
    questions = None if supervised else follow_supervisor()
    # Wrong usage is said once, before anything is started.
    herd = load_herd(target)
    for event in events or ():
        herd[event]
    if supervised:
        from oxherd.cli.supervisor import supervise

        arguments = [target, "--log-format", log_format]
        for event in events or ():
            arguments += ["--event", event]
        if stop_timeout is not None:
            arguments += ["--stop-timeout", str(stop_timeout)]
        fleet = Fleet(processes) if address else None
        with _endpoint(address, fleet) if address and fleet else nullcontext():
            return supervise(arguments, processes=processes, reload=reload, fleet=fleet)
    if questions is not None:
        answer(questions, ProcessSource(herd))
    with _endpoint(address, ProcessSource(herd)) if address else nullcontext():
        return run_worker(herd, events or None, herd.stop_timeout if stop_timeout is None else stop_timeout)


@contextmanager
def _endpoint(address: Address, source: Source) -> Generator[None]:
    with serving(address, source) as bound:
        logging.getLogger("oxherd").info("health endpoint at http://%s", bound)
        yield


def _nothing_runs_yet(*_: object) -> NoReturn:
    # Until the worker listens itself, there is nothing to drain.
    raise SystemExit(0)


def set_up_logging(log_format: str) -> None:
    """The root logger at INFO, written to standard error."""
    handler = LineHandler(sys.stderr.fileno())
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org
    handler.setFormatter(JSONFormatter() if log_format == "json" else ConsoleFormatter(colour=colour))
    handler.addFilter(ContextFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
