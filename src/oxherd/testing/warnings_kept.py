"""Keeps oxherd's warnings and errors as the console shows them, for the report of a test that fails."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from oxherd.telemetry.logs.console_formatter import ConsoleFormatter

_KEPT = 20


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.entries: deque[str] = deque(maxlen=_KEPT)
        self.setFormatter(ConsoleFormatter(colour=False))

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(self.format(record))


@contextmanager
def warnings_kept() -> Generator[deque[str]]:
    """Yield the last warnings and errors of logger `oxherd` meanwhile: a message alone, such as `event.end`, names no
    event and no error."""
    logger, keeper = logging.getLogger("oxherd"), _Keeper()
    logger.addHandler(keeper)
    try:
        yield keeper.entries
    finally:
        logger.removeHandler(keeper)
