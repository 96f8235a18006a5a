"""The console log: aligned, in colour where it is asked for, with ids that can be copied and times for people."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.harness import environment

UUID = "01a20cdd-4493-70c3-9fca-7d0646652bab"
COLOUR = re.compile(r"\033\[\d+m")


def record(message: str, **fields: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "oxherd", "levelname": "INFO", "levelno": logging.INFO, "msg": message})
    made.__dict__.update({"event": "order.placed", "event_id": UUID, "attempt": 1, **fields})
    return made


def line(message: str, *, colour: bool = False, **fields: Any) -> str:
    return ConsoleFormatter(colour=colour).format(record(message, **fields))


def test_an_id_is_one_word_of_the_uuid_that_finds_the_event_in_a_json_log() -> None:
    [word] = [word for word in line("event.begin").split() if word in UUID and len(word) > 4]
    assert re.fullmatch(r"[0-9a-f]{12}", word)
    assert word in JSONFormatter().format(record("event.begin"))
    assert UUID not in line("event.begin")


def test_lines_are_aligned_whatever_the_attempt_and_the_words() -> None:
    lines = [
        line("event.begin"),
        line("event.begin", attempt=12),
        line("event.end", event="a", outcome="completed", duration_ms=1.5),
        line("charged"),
    ]
    assert len({each.index("7d0646652bab") for each in lines}) == 1
    words = ("begin", "begin", "completed", "charged")
    assert len({each.index(word, 20) for each, word in zip(lines, words, strict=True)}) == 1


def test_what_a_handler_gives_as_extra_is_shown_and_its_level_where_it_is_not_info() -> None:
    made = logging.makeLogRecord({"name": "shop", "levelname": "WARNING", "levelno": logging.WARNING, "msg": "careful"})
    vars(made).update({"event": "order.placed", "event_id": UUID, "attempt": 1, "amount": 5, "note": "a\nb", "_x": 1})
    shown = ConsoleFormatter(colour=False).format(made)
    assert shown.endswith(r"  WARNING shop: careful  amount=5 note=a\nb")
    vars(made).update(levelname="INFO", levelno=logging.INFO)
    assert ConsoleFormatter(colour=False).format(made).endswith(r"  shop: careful  amount=5 note=a\nb")


def test_the_embedded_server_that_is_used_is_said() -> None:
    said = line("redis.embedded", project="/srv/shop", url="unix:///srv/shop/.oxherd/valkey.sock")
    assert "project=/srv/shop url=unix:///srv/shop/.oxherd/valkey.sock" in said


def test_colour_is_on_a_terminal_only_and_changes_no_word() -> None:
    fields: dict[str, Any] = {"outcome": "failed", "duration_ms": 2.0, "error": {"type": "ValueError", "message": "no"}}
    ended = record("event.end", **fields)
    plain, painted = (ConsoleFormatter(colour=colour).format(ended) for colour in (False, True))
    assert "\033" not in plain
    assert COLOUR.search(painted)
    assert COLOUR.sub("", painted) == plain


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_whoever_wants_no_colour_on_a_terminal_gets_none(no_color: str, coloured: bool) -> None:
    setup = "from oxherd.telemetry.logs.setup import set_up_logging; set_up_logging('console')"
    program = f"import logging; {setup}; logging.error('no')"
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment(NO_COLOR=no_color), check=True)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    os.close(ours)
    assert "ERROR no" in COLOUR.sub("", said)
    assert bool(COLOUR.search(said)) == coloured


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0.023, "23 µs"),
        (1.54, "1.5 ms"),
        (999.0, "999.0 ms"),
        (2503.0, "2.5 s"),
        (90_000, "1.5 min"),
        (5_400_000, "1.5 h"),
    ],
)
def test_a_time_is_in_a_unit_for_people(milliseconds: float, said: str) -> None:
    assert line("event.end", outcome="completed", duration_ms=milliseconds).endswith(f"in {said}")


def test_the_root_of_a_story_stands_as_its_own_lines_have_it() -> None:
    assert line("charged", root="01a20cdd-4493-70c3-9fca-7d0646652bab").endswith("  root=7d0646652bab")
    assert "7d0646652bab" in line("event.begin", event_id="01a20cdd-4493-70c3-9fca-7d0646652bab")
