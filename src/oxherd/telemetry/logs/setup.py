"""Sets up the logging of a process that is oxherd's own."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from oxherd.context import ContextFilter
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler


def set_up_logging(log_format: str) -> None:
    """Set the root logger to INFO and write it to standard error, if there is one."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    error: TextIO | None = sys.stderr
    if error is None:
        root.addHandler(logging.NullHandler())
        return
    try:
        handler = LineHandler(error.fileno())
    except OSError:  # a notebook's, for one, has no descriptor
        handler = logging.StreamHandler(error)
    colour = error.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org
    handler.setFormatter(JSONFormatter() if log_format == "json" else ConsoleFormatter(colour=colour))
    handler.addFilter(ContextFilter())
    root.addHandler(handler)


def set_up_missing_logging() -> None:
    """`set_up_logging` for the console, unless the application has set up its own."""
    if not logging.getLogger("oxherd").hasHandlers():
        set_up_logging("console")
