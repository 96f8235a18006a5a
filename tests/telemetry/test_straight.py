"""Begin and end are written without a record where nobody but our own JSON handler would see one; else as records."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oxherd.context import ContextFilter
from oxherd.privacy.shown_payload import NOTHING_SHOWN, ShownPayload
from oxherd.signals import ErrorInfo, EventBegan, EventEnded
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler
from oxherd.telemetry.logs.straight import write_straight
from oxherd.telemetry.logs.subscriber import LogSubscriber

_logger, _root = logging.getLogger("oxherd"), logging.getLogger()
_CAUSE, _ROOT = "0199-cause", "0199-root"
SIGNALS = [
    EventBegan("order.placed", "0199-a", 1, fence=1, shown=NOTHING_SHOWN),
    EventBegan("order.placed", "0199-b", 2, fence=3, shown=ShownPayload(b'{"order_id":1,"email":"a***"}')),
    EventBegan(
        "order.placed",
        "0199-c",
        1,
        fence=1,
        shown=ShownPayload('{"name":"Zoë\u2028"}'.encode()),
        caused_by=_CAUSE,
        root=_ROOT,
    ),
    EventBegan("order.placed", "0199-d", 1, fence=1, shown=NOTHING_SHOWN, caused_by=_CAUSE, root=_ROOT),
    EventEnded("order.placed", "0199-a", 1, fence=1, outcome="completed", duration_ms=1.23456),
    EventEnded(
        "order.placed", "0199-d", 1, fence=1, outcome="completed", duration_ms=0.1, caused_by=_CAUSE, root=_ROOT
    ),
    EventEnded("order.placed", "0199-e", 1, fence=1, outcome="lost", duration_ms=2),
    EventEnded("order.placed", "0199-f", 1, 1, "retrying", 2.5, ErrorInfo("ValueError", "no"), retry_in_ms=84),
]


class Log:
    """Our handler on the root logger, alone, on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.handler = LineHandler(self.descriptor)
        self.handler.setFormatter(JSONFormatter())
        self.handler.addFilter(ContextFilter())

    def lines(self) -> list[str]:
        """What has been written, without the times."""
        return re.sub(r'"ts":"[^"]+"', '"ts":""', self._path.read_text()).splitlines()


@contextmanager
def our_handler_alone(folder: Path) -> Generator[Log]:
    # Within a test: pytest adds handlers of its own after its fixtures.
    log = Log(folder / "log")
    handlers, own, level, factory = _root.handlers, _logger.handlers, _root.level, logging.getLogRecordFactory()
    _root.handlers, _logger.handlers = [log.handler], []
    _root.setLevel(logging.INFO)
    try:
        yield log
    finally:
        _root.handlers, _logger.handlers = handlers, own
        _root.setLevel(level)
        logging.setLogRecordFactory(factory)
        os.close(log.descriptor)


def straight() -> bool:
    fields = {"event": "a", "event_id": "b", "attempt": 1, "fence": 1}
    return write_straight(_logger, logging.INFO, "event.begin", fields, None)


def test_both_ways_write_the_same_lines(tmp_path: Path) -> None:
    with our_handler_alone(tmp_path) as log:
        assert straight()
        _log_signals()
        _logger.handlers = [logging.NullHandler()]
        assert not straight()
        _log_signals()
        first, *lines = log.lines()
    assert '"event_id":"b"' in first
    assert lines[: len(SIGNALS)] == lines[len(SIGNALS) :]
    assert len(lines) == 2 * len(SIGNALS)


def _log_signals() -> None:
    for signal in SIGNALS:
        LogSubscriber()(signal)


class Spectator(logging.Handler):
    """Any handler, filter, formatter or factory of a user's that sees records."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())

    def let_pass(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def make(self, *arguments: object) -> logging.LogRecord:
        record = logging.LogRecord(*arguments)  # pyright: ignore[reportArgumentType]
        self.emit(record)
        return record


class SeeingFormatter(JSONFormatter):
    def __init__(self, spectator: Spectator) -> None:
        super().__init__()
        self._spectator = spectator

    def format(self, record: logging.LogRecord) -> str:
        self._spectator.emit(record)
        return super().format(record)


class SeeingHandler(LineHandler):
    def __init__(self, spectator: Spectator, descriptor: int) -> None:
        super().__init__(descriptor)
        self.setFormatter(JSONFormatter())
        self.addFilter(ContextFilter())
        self._spectator = spectator

    def emit(self, record: logging.LogRecord) -> None:
        self._spectator.emit(record)
        super().emit(record)


Patch = pytest.MonkeyPatch


def another_handler(log: Log, eyes: Spectator, patch: Patch) -> None:
    patch.setattr(_root, "handlers", [log.handler, eyes])


def a_handler_of_the_logger(_: Log, eyes: Spectator, patch: Patch) -> None:
    patch.setattr(_logger, "handlers", [eyes])


def a_handler_in_place_of_the_root(_: Log, eyes: Spectator, patch: Patch) -> None:
    patch.setattr(_logger, "propagate", False)
    patch.setattr(_logger, "handlers", [eyes])


def a_handler_in_place_of_ours(log: Log, eyes: Spectator, patch: Patch) -> None:
    patch.setattr(_root, "handlers", [SeeingHandler(eyes, log.descriptor)])


def a_filter_of_the_logger(_: Log, eyes: Spectator, patch: Patch) -> None:
    patch.setattr(_logger, "filters", [eyes.let_pass])


def a_filter_of_our_handler(log: Log, eyes: Spectator, _: Patch) -> None:
    log.handler.addFilter(eyes.let_pass)


def another_formatter(log: Log, eyes: Spectator, _: Patch) -> None:
    log.handler.setFormatter(SeeingFormatter(eyes))


def a_record_factory(_: Log, eyes: Spectator, __: Patch) -> None:
    logging.setLogRecordFactory(eyes.make)


def a_filter_of_a_logger_class(_: Log, eyes: Spectator, patch: Patch) -> None:
    class SeeingLogger(logging.Logger):
        def filter(self, record: logging.LogRecord) -> bool:
            return eyes.let_pass(record)

    patch.setattr(_logger, "__class__", SeeingLogger)


def a_patch(owner: type[Any], method: str) -> Callable[[Log, Spectator, Patch], None]:
    """Replaces a method of a class, as error trackers do to wrap it."""

    def watch(_: Log, eyes: Spectator, patch: Patch) -> None:
        original = getattr(owner, method)

        def wrapper(self: object, record: logging.LogRecord) -> object:
            eyes.emit(record)
            return original(self, record)

        patch.setattr(owner, method, wrapper)

    watch.__name__ = f"a_patch_of_{owner.__name__}_{method}"
    return watch


@pytest.mark.parametrize(
    "watch",
    [
        another_handler,
        a_handler_of_the_logger,
        a_handler_in_place_of_the_root,
        a_handler_in_place_of_ours,
        a_filter_of_the_logger,
        a_filter_of_our_handler,
        another_formatter,
        a_record_factory,
        a_filter_of_a_logger_class,
        a_patch(logging.Logger, "handle"),
        a_patch(logging.Logger, "callHandlers"),
        a_patch(logging.Handler, "handle"),
    ],
)
def test_whoever_else_sees_records_sees_each_begin_and_end(
    watch: Callable[[Log, Spectator, Patch], None], tmp_path: Path
) -> None:
    eyes = Spectator()
    with our_handler_alone(tmp_path) as log, Patch.context() as patch:
        assert straight()
        watch(log, eyes, patch)
        assert not straight()
        _log_signals()
    assert eyes.seen == ["event.begin"] * 4 + ["event.end"] * 4


def test_a_handler_without_our_filter_or_format_or_level_gets_records(tmp_path: Path) -> None:
    with our_handler_alone(tmp_path) as log:
        log.handler.filters.clear()
        assert not straight()
        log.handler.addFilter(ContextFilter())
        log.handler.setFormatter(ConsoleFormatter(colour=False))
        assert not straight()
        log.handler.setFormatter(JSONFormatter())
        log.handler.setLevel(logging.WARNING)
        assert not straight()
        _log_signals()
        assert ['"outcome":"lost"' in log.lines()[0], '"outcome":"retrying"' in log.lines()[1]] == [True, True]
        assert len(log.lines()) == 2


def hide_all(record: logging.LogRecord) -> bool:
    record.__dict__["payload"] = "hidden"
    return True


def hide_email(record: logging.LogRecord) -> bool:
    record.__dict__["payload"]["email"] = "hidden"
    return True


def remove(record: logging.LogRecord) -> bool:
    del record.__dict__["payload"]
    return True


@pytest.mark.parametrize(
    ("change", "shown"),
    [(hide_all, "hidden"), (hide_email, {"order_id": 1, "email": "hidden"}), (remove, None)],
)
def test_what_a_users_filter_makes_of_the_payload_is_what_is_written(
    change: Callable[[logging.LogRecord], bool], shown: object, tmp_path: Path
) -> None:
    with our_handler_alone(tmp_path) as log:
        log.handler.addFilter(change)
        LogSubscriber()(SIGNALS[1])
        assert [json.loads(line).get("payload") for line in log.lines()] == [shown]


def test_a_level_of_any_name_makes_valid_json(tmp_path: Path) -> None:
    with our_handler_alone(tmp_path) as log:
        name = '\x1b[1m"IN\\FO"\x1b[0m'  # coloured, as is often done
        logging.addLevelName(logging.INFO, name)
        try:
            assert straight()
            LogSubscriber()(SIGNALS[1])
        finally:
            logging.addLevelName(logging.INFO, "INFO")
        assert [json.loads(line)["level"] for line in log.lines()] == [name, name]
