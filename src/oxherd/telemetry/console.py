"""Log lines for people: aligned, coloured on a terminal only."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, cast

_GREY, _RED, _GREEN, _YELLOW, _BOLD, _OFF = "\033[90m", "\033[31m", "\033[32m", "\033[33m", "\033[1m", "\033[0m"
_LEVEL_COLOURS = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}
_OUTCOME_COLOURS = {"completed": _GREEN, "requeued": _YELLOW, "retrying": _YELLOW}
_NAME_WIDTH = 18
# In the order in which they follow the message.
_DETAILS = (
    "payload", "source", "queue", "node", "outage_ms", "blocked_ms", "lock_held", "events", "server",
    "drained", "requeued", "cancelled", "stranded", "orphans", "requeued_ids", "stranded_ids",
)  # fmt: skip


class ConsoleFormatter(logging.Formatter):
    """`12:00:01.234  order.placed  #1  0192…  begin  {...}`; the UUID is whole, so that it can be copied."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        extra = record.__dict__
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        parts = [self._paint(stamp, _GREY), self._subject(extra), self._message(record, extra)]
        details = [self._detail(name, extra[name]) for name in _DETAILS if extra.get(name) not in (None, [])]
        error: dict[str, Any] | None = extra.get("error") if isinstance(extra.get("error"), dict) else None
        if error is not None:
            details.append(self._paint(f"{error.get('type')}: {error.get('message')}", _RED))
        stack = extra.get("stack") if error is None else error.get("stack")
        if isinstance(stack, list):
            details += [f"\n{'':14}at {frame}" for frame in reversed(cast("list[Any]", stack))]
        line = "  ".join(part for part in parts if part) + ("  " + " ".join(details) if details else "")
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        if trace:
            line += f"\n{trace}"
        return line.rstrip()

    def _subject(self, extra: dict[str, Any]) -> str:
        if "event_id" not in extra:
            return ""
        attempt = f"#{extra['attempt']}" if "attempt" in extra else "  "
        return f"{extra.get('event', ''):<{_NAME_WIDTH}} {attempt} {self._paint(extra['event_id'], _GREY)}"

    def _message(self, record: logging.LogRecord, extra: dict[str, Any]) -> str:
        message = record.getMessage()
        if message == "event.begin":
            return "begin"
        if message == "event.end":
            outcome = extra["outcome"]
            painted = self._paint(f"{outcome:<9}", _OUTCOME_COLOURS.get(outcome, _RED))
            return f"{painted} in {_duration(extra['duration_ms'])}"
        name = (
            "" if record.name in ("oxherd", "root") or record.name.startswith("oxherd.event.") else f"{record.name}: "
        )
        return self._paint(name + message, _LEVEL_COLOURS.get(record.levelname, ""))

    def _detail(self, name: str, value: Any) -> str:
        if name == "payload":
            return json.dumps(value, ensure_ascii=False)
        if name == "outage_ms":
            return f"after {_duration(value)}"
        if name.endswith("_ids"):
            return f"\n{'':14}{name.removesuffix('_ids')}: {', '.join(value)}"
        if name == "blocked_ms":
            return f"for {_duration(value)}"
        if name == "lock_held":
            return "(the interpreter's lock was held)"
        if isinstance(value, list):
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return f"{name}={value}"

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour and colour and text else text


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 60_000:.1f} min"
