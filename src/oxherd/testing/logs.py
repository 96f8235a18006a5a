"""Observes log records and standard output and error."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from oxherd.context import ContextFilter
from oxherd.privacy.log_redaction import QUOTING_LOGGERS
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.testing.observation import Observation, Observer


class _RecordObserver(logging.Handler):
    """Observes each record in both log formats and with all its attributes."""

    def __init__(self, observe: Observer) -> None:
        super().__init__()
        self._observe = observe
        self._formatters = (JSONFormatter(), ConsoleFormatter(colour=False))
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        sink = f"the log (logger {record.name!r})"
        is_own_line = record.name != "oxherd" and record.name not in QUOTING_LOGGERS
        if is_own_line and record.exc_text:
            self._observe(Observation(sink, record.exc_text))  # an error is no line of the handler's own
            record = logging.makeLogRecord(vars(record) | {"exc_text": None})
        try:
            carried = repr(vars(record))
        except Exception:  # noqa: BLE001 - a value's own __repr__ may raise anything
            carried = ""
        texts = [*(formatter.format(record) for formatter in self._formatters), carried]
        self._observe(Observation(sink, "\n".join(texts), is_own_line=is_own_line))


class _StreamObserver(io.TextIOBase):
    """Observes text and writes it to the original stream."""

    def __init__(self, stream: TextIO, sink: str, observe: Observer) -> None:
        self._stream = stream
        self._sink = sink
        self._observe = observe

    def write(self, text: str) -> int:
        self._observe(Observation(self._sink, text))
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def capture_output(observe: Observer) -> Generator[None]:
    """Observe log records from INFO on, or from the root logger's level if lower, and printed text."""
    handler = _RecordObserver(observe)
    root = logging.getLogger()
    level, disabled = root.level, root.manager.disable
    loggers = [root, *_without_root()]
    for logger in loggers:
        logger.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    logging.disable(logging.NOTSET)
    out, error = sys.stdout, sys.stderr
    try:
        with (
            redirect_stdout(_StreamObserver(out, "standard output", observe)),
            redirect_stderr(_StreamObserver(error, "standard error", observe)),
        ):
            yield
    finally:
        root.setLevel(level)
        logging.disable(disabled)
        for logger in loggers:
            logger.removeHandler(handler)


def _without_root() -> Iterator[logging.Logger]:
    """Loggers whose records do not reach the root logger."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.propagate:
            yield logger
