"""`oxherd worker`: sets up logging, and processes in this process or under a supervisor."""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

from oxherd.cli.load import load_herd
from oxherd.cli.supervised import follow_supervisor
from oxherd.context import ContextFilter
from oxherd.telemetry.console import ConsoleFormatter
from oxherd.telemetry.format import JSONFormatter
from oxherd.telemetry.handler import LineHandler
from oxherd.worker.main import run as run_worker


def run(
    target: str,
    events: list[str] | None,
    *,
    processes: int,
    reload: bool,
    log_format: str,
    stop_timeout: float | None,
) -> int:
    """The worker's exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing_runs_yet)
    set_up_logging(log_format)
    if processes > 1 or reload:
        from oxherd.cli.supervisor import supervise

        arguments = [target, "--log-format", log_format]
        for event in events or ():
            arguments += ["--event", event]
        if stop_timeout is not None:
            arguments += ["--stop-timeout", str(stop_timeout)]
        # Wrong usage is said once, before anything is started.
        herd = load_herd(target)
        for event in events or ():
            herd[event]
        return supervise(arguments, processes=processes, reload=reload)
    follow_supervisor()
    herd = load_herd(target)
    for event in events or ():
        herd[event]
    return run_worker(herd, events or None, herd.stop_timeout if stop_timeout is None else stop_timeout)


def _nothing_runs_yet(*_: object) -> NoReturn:
    # Until the worker listens itself, there is nothing to drain.
    raise SystemExit(0)


def set_up_logging(log_format: str) -> None:
    """The root logger at INFO, written to standard error."""
    handler = LineHandler(sys.stderr.fileno())
    handler.setFormatter(JSONFormatter() if log_format == "json" else ConsoleFormatter(colour=sys.stderr.isatty()))
    handler.addFilter(ContextFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
