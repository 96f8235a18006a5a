"""How records look: JSON for machines, aligned lines for people."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from pydantic_core import to_json

# The contract's keys, in the order in which a reader wants them.
FIELDS = (
    "event", "event_id", "attempt", "fence", "payload", "outcome", "duration_ms", "error",
    "source", "queue", "node", "outage_ms", "events", "server", "drained", "requeued", "stranded",
)  # fmt: skip
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_LAST_LEVELS: dict[str, str] = {}


class JSONFormatter(logging.Formatter):
    """One JSON object a line, with the contract's keys; whatever else a record carries as `extra` comes after them."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        extra = record.__dict__
        parts = [
            f'{{"ts":"{self._timestamp(record.created)}","level":"{record.levelname}",'
            f'"logger":{_quoted(record.name)},"msg":{_quoted(_message(record))}'
        ]
        for name in FIELDS:
            value = extra.get(name)
            if value is not None:
                parts.append(f'"{name}":{_encoded(name, value)}')
        if len(extra) > len(_STANDARD):
            parts += [
                f"{_quoted(name)}:{_json(value)}"
                for name, value in extra.items()
                if name not in _STANDARD and name not in FIELDS and not name.startswith("_")
            ]
        if record.exc_info:
            parts.append(f'"exception":{_quoted(self.formatException(record.exc_info))}')
        return ",".join(parts) + "}"

    def _timestamp(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((created - second) * 1_000_000):06d}Z"


def _message(record: logging.LogRecord) -> str:
    return record.msg if not record.args and isinstance(record.msg, str) else record.getMessage()


def _encoded(name: str, value: Any) -> str:
    if type(value) is int or type(value) is float:
        return repr(value)
    if name == "payload" and getattr(value, "json", None) is not None:
        return value.json.decode()
    return _quoted(value) if type(value) is str else _json(value)


def _quoted(text: str) -> str:
    # Most are plain: json.dumps is called for those that need escaping only.
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)


def _json(value: Any) -> str:
    return to_json(value, fallback=lambda other: f"<{type(other).__name__}>", inf_nan_mode="null").decode()
