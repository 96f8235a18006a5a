"""Lines reach a descriptor that does not take them at once, whole and in order; what is lost is counted."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler
from oxherd.telemetry.logs.reader import read_records


def write(handler: LineHandler, *messages: str) -> None:
    for message in messages:
        handler.handle(logging.LogRecord("shop", logging.INFO, "", 1, message, None, None))


def handler_on(descriptor: int) -> LineHandler:
    handler = LineHandler(descriptor)
    handler.setFormatter(JSONFormatter())
    return handler


@contextmanager
def pipe_without_waiting() -> Generator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def read_all(reading: int, until: Callable[[bytes], bool]) -> bytes:
    found = b""
    while not until(found):
        found += os.read(reading, 10_000)
    return found


@pytest.mark.parametrize(("count", "size"), [(1_800, 300), (300, 9_000), (20, 200_000)])
def test_a_reader_that_is_slow_gets_every_line_and_holds_up_nobody(count: int, size: int) -> None:
    with pipe_without_waiting() as (reading, writing):
        handler = handler_on(writing)
        messages = [f"{number} {'x' * size}" for number in range(count)]
        write(handler, *messages)  # returns, though nobody reads
        found = read_all(reading, lambda found: found.count(b"\n") == count)
    assert [record["msg"] for record in read_records(found)] == messages


def test_an_exit_waits_for_a_reader_that_is_behind() -> None:
    with pipe_without_waiting() as (reading, writing):
        handler = handler_on(writing)
        messages = [f"{number} {'x' * 9_000}" for number in range(100)]
        write(handler, *messages)
        found: list[bytes] = []
        reader = threading.Thread(
            target=lambda: found.append(read_all(reading, lambda found: found.count(b"\n") == len(messages)))
        )
        reader.start()
        handler.flush()
        reader.join()
    assert [record["msg"] for record in read_records(found[0])] == messages


@pytest.mark.slow
def test_lines_over_the_backlog_are_lost_and_counted() -> None:
    with pipe_without_waiting() as (reading, writing):
        handler = handler_on(writing)
        write(handler, *("x" * 1_000_000 for _ in range(20)))
        first = read_all(reading, lambda found: found.count(b"\n") == 16)
        write(handler, "after")
        last = read_all(reading, lambda found: b'"after"' in found)
    records = list(read_records(first + last))
    assert records[-2:][0]["msg"] == f"{20 - (len(records) - 2)} log records before this one could not be written"
    assert records[-1]["msg"] == "after"


def test_a_full_disk_tears_no_line_and_what_it_cost_is_said_once_there_is_room(tmp_path: Path) -> None:
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    handler = handler_on(descriptor)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        write(handler, "first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 30, hard))  # the next one is cut
        write(handler, "second", "third")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    write(handler, "fourth", "fifth")
    os.close(descriptor)
    messages = [record["msg"] for record in read_records(file)]
    assert messages == ["first", "2 log records before this one could not be written", "fourth", "fifth"]


def test_a_reader_that_has_gone_costs_no_record_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    handler = handler_on(writing)
    os.close(reading)
    write(handler, "nobody reads this")
    os.close(writing)
    assert capsys.readouterr().err == ""


def test_a_line_is_kept_for_later_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pipe_without_waiting() as (reading, writing):
        handler, errors = handler_on(writing), list[logging.LogRecord]()
        monkeypatch.setattr(handler, "handleError", errors.append)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            write(handler, "x" * 2**17, "last")
        found: list[bytes] = []
        reader = threading.Thread(target=lambda: found.append(read_all(reading, lambda found: found.count(b"\n") == 2)))
        reader.start()
        handler.flush()
        reader.join()
    assert [record["msg"] for record in read_records(found[0])] == ["x" * 2**17, "last"]
    assert errors == []
