"""Formats log records for people: aligned, in colour on a terminal."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Any, cast

from oxherd.privacy.log_redaction import STANDARD_ATTRIBUTES
from oxherd.telemetry.logs.json_formatter import message_of
from oxherd.telemetry.logs.printable import printable

_GREY, _RED, _GREEN, _YELLOW, _BOLD, _OFF = "\033[90m", "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[0m"
_LEVEL_COLOURS = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}
_OUTCOME_COLOURS = {"completed": _GREEN, "requeued": _YELLOW, "retrying": _YELLOW}
_NAME_WIDTH = 18
# Further lines are indented, so that no text in a record can pass for another record.
_NEXT_LINE = f"\n{'':14}"
# A UUID's last group: a double click selects it, `grep` finds it in a JSON log, and it is random (or a hash), whereas
# version 7 begins with the time.
_SHORT_ID = 12
# In this order after the message.
_DETAILS = (
    "payload", "source", "queue", "node", "outage_ms", "blocked_ms", "retry_in_ms", "late_ms", "lock_held", "events",
    "server", "project", "url", "without_handler",
    "drained", "requeued", "cancelled", "stranded", "stuck", "unresolved", "requeued_ids", "stranded_ids", "stuck_ids",
    "root",
)  # fmt: skip
_DURATIONS = {"outage_ms": "after", "blocked_ms": "for", "retry_in_ms": "again in", "late_ms": "late by"}
# Already on the line, in a place of its own.
_PLACED = STANDARD_ATTRIBUTES | {"event", "event_id", "attempt", "error", "stack", *_DETAILS}


class ConsoleFormatter(logging.Formatter):
    """Formats as `12:00:01.234  order.placed  #1  7d0646652bab  begin  {...}`, with the last group of the UUID."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        try:
            return self._entry(record)
        except Exception as error:  # noqa: BLE001 - a record may hold anything, and no record may be lost
            shown = f"{record.name}: {message_of(record)} (its details cannot be shown: {type(error).__name__})"
            return f"{_clock(time.time())}  {printable(shown)}"

    def _entry(self, record: logging.LogRecord) -> str:
        extra = record.__dict__
        parts = [self._paint(_clock(record.created), _GREY), self._subject(extra), self._message(record, extra)]
        details = [self._detail(name, extra[name]) for name in _DETAILS if extra.get(name) not in (None, [])]
        if not _is_ours(record):
            details += [printable(f"{name}={value}") for name, value in extra.items() if _is_users(name)]
        error: dict[str, Any] | None = extra.get("error") if isinstance(extra.get("error"), dict) else None
        if error is not None:
            details.append(self._paint(printable(f"{error.get('type')}: {error.get('message')}"), _RED))
        stack = extra.get("stack") if error is None else error.get("stack")
        if isinstance(stack, list):
            details += [f"{_NEXT_LINE}at {printable(frame)}" for frame in reversed(cast("list[Any]", stack))]
        line = "  ".join(part for part in parts if part) + ("  " + " ".join(details) if details else "")
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        if trace:
            line += "".join(f"{_NEXT_LINE}{printable(text)}" for text in trace.split("\n") if text.strip())
        return "\n".join(part.rstrip() for part in line.split("\n"))

    def _subject(self, extra: dict[str, Any]) -> str:
        if "event_id" not in extra:
            return ""
        attempt = f"#{extra['attempt']}" if "attempt" in extra else ""
        name, short = printable(extra.get("event", "")), printable(str(extra["event_id"])[-_SHORT_ID:])
        return f"{name:<{_NAME_WIDTH}} {printable(attempt):<3} {self._paint(short, _GREY)}"

    def _message(self, record: logging.LogRecord, extra: dict[str, Any]) -> str:
        message = message_of(record)
        if message == "event.begin":
            return "begin"
        if message == "event.end" and "outcome" in extra:
            outcome = printable(extra["outcome"])
            painted = self._paint(f"{outcome:<9}", _OUTCOME_COLOURS.get(outcome, _RED))
            return f"{painted} in {_duration(extra['duration_ms'])}"
        level = "" if _is_ours(record) or record.levelno == logging.INFO else f"{record.levelname} "
        name = (
            "" if record.name in ("oxherd", "root") or record.name.startswith("oxherd.event.") else f"{record.name}: "
        )
        return self._paint(printable(level + name + message), _LEVEL_COLOURS.get(record.levelname, ""))

    def _detail(self, name: str, value: Any) -> str:
        if name == "payload":
            return printable(json.dumps(value, ensure_ascii=False))
        if name == "root":  # shortened as on the other lines, so that one search finds the whole story
            return f"root={printable(str(value)[-_SHORT_ID:])}"
        if name in _DURATIONS:
            return f"{_DURATIONS[name]} {_duration(value)}"
        if name.endswith("_ids"):
            return f"{_NEXT_LINE}{name.removesuffix('_ids')}: {printable(', '.join(value))}"
        if name == "lock_held":
            return "(the interpreter's lock was held)"
        if name == "without_handler":
            return printable(f"(no handler is imported for {', '.join(value)})")
        if isinstance(value, list):
            return printable(", ".join(map(str, cast("list[Any]", value))))
        return printable(f"{name}={value}")

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour and colour and text else text


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record was made from a signal."""
    return record.name == "oxherd" and record.lineno == 0


def _is_users(name: Any) -> bool:
    """Whether a field is the caller's own `extra`."""
    return name not in _PLACED and not str(name).startswith("_")


def _clock(created: float) -> str:
    second = math.floor(created)
    return time.strftime("%H:%M:%S", time.localtime(second)) + f".{int((created - second) * 1000):03d}"


def _duration(milliseconds: float) -> str:
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    if milliseconds < 3_600_000:
        return f"{milliseconds / 60_000:.1f} min"
    return f"{milliseconds / 3_600_000:.1f} h"
