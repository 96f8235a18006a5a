"""Captures what is logged and printed while something runs."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from oxherd.context import ContextFilter
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.testing.observation import Hear, Heard


class _Captured(logging.Handler):
    """Hands each record on as both of our formats show it, and with all that it carries."""

    def __init__(self, hear: Hear) -> None:
        super().__init__()
        self._hear = hear
        self._formatters = (JSONFormatter(), ConsoleFormatter(colour=False))
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            carried = repr(vars(record))
        except Exception:  # noqa: BLE001 - a value's own __repr__ may raise anything
            carried = ""
        texts = [*(formatter.format(record) for formatter in self._formatters), carried]
        self._hear(Heard(f"the log (logger {record.name!r})", "\n".join(texts)))


class _Copied(io.TextIOBase):
    """Passes text on, and hands it on as well."""

    def __init__(self, stream: TextIO, sink: str, hear: Hear) -> None:
        self._stream = stream
        self._sink = sink
        self._hear = hear

    def write(self, text: str) -> int:
        self._hear(Heard(self._sink, text))
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def captured(hear: Hear) -> Generator[None]:
    """Hear every log record from INFO on, or from the root logger's level if that is lower, and what is printed."""
    handler = _Captured(hear)
    root = logging.getLogger()
    level, disabled = root.level, root.manager.disable
    loggers = [root, *_apart()]
    for logger in loggers:
        logger.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    logging.disable(logging.NOTSET)
    out, error = sys.stdout, sys.stderr
    try:
        with (
            redirect_stdout(_Copied(out, "standard output", hear)),
            redirect_stderr(_Copied(error, "standard error", hear)),
        ):
            yield
    finally:
        root.setLevel(level)
        logging.disable(disabled)
        for logger in loggers:
            logger.removeHandler(handler)


def _apart() -> Iterator[logging.Logger]:
    """The loggers whose records do not reach the root."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.propagate:
            yield logger
