"""How records look: JSON for machines, aligned lines for people."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from pydantic_core import to_json

# The contract's keys: their spelling needs no quoting.
FIELDS = frozenset({"event", "event_id", "outcome", "source", "queue", "node", "server"})
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_RESERVED = frozenset({"ts", "level", "logger", "msg", "exception"})
_STANDARD_COUNT = len(vars(logging.LogRecord("", 0, "", 0, "", None, None)))


class JSONFormatter(logging.Formatter):
    """One JSON object a line, with the contract's keys; whatever else a record carries as `extra` comes after them."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        extra = record.__dict__
        stamp = self._timestamp(record.created)
        lifecycle = _LIFECYCLE.get((record.msg, len(extra) - _STANDARD_COUNT)) if record.name == "oxherd" else None
        if lifecycle is not None:
            return lifecycle(stamp, extra)
        head = (
            f'{{"ts":"{stamp}","level":"{record.levelname}",'
            f'"logger":{_quoted(record.name)},"msg":{_quoted(_message(record))}'
        )
        parts = [head]
        for name, value in extra.items():
            if name in _STANDARD or value is None or name.startswith("_"):
                continue
            if name in _RESERVED:
                name = f"extra_{name}"
            kind = cast("type[Any]", type(value))
            if kind is str:
                parts.append(f'"{name}":{_quoted(value)}' if name in FIELDS else f"{_quoted(name)}:{_quoted(value)}")
            elif kind is int:
                parts.append(f"{_quoted(name)}:{value}")
            else:
                parts.append(f"{_quoted(name)}:{_json(value)}")
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        if trace:
            parts.append(f'"exception":{_quoted(trace)}')
        return ",".join(parts) + "}"

    def _timestamp(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((created - second) * 1_000_000):06d}Z"


# The three records that are written for each event, when nothing but their own fields is on them: names and ids need no
# quoting, and one expression is several times cheaper than a walk over the attributes.


def _begin(stamp: str, extra: dict[str, Any]) -> str:
    return (
        f'{{"ts":"{stamp}","level":"{extra["levelname"]}","logger":"oxherd","msg":"event.begin","event":"{extra["event"]}",'
        f'"event_id":"{extra["event_id"]}","attempt":{extra["attempt"]},"fence":{extra["fence"]}}}'
    )


def _begin_shown(stamp: str, extra: dict[str, Any]) -> str:
    return f'{_begin(stamp, extra)[:-1]},"payload":{extra["_payload_json"].decode()}}}'


def _end(stamp: str, extra: dict[str, Any]) -> str:
    return (
        f'{{"ts":"{stamp}","level":"{extra["levelname"]}","logger":"oxherd","msg":"event.end","event":"{extra["event"]}",'
        f'"event_id":"{extra["event_id"]}","attempt":{extra["attempt"]},"fence":{extra["fence"]},'
        f'"outcome":"{extra["outcome"]}","duration_ms":{extra["duration_ms"]}}}'
    )


_LIFECYCLE: dict[tuple[Any, int], Callable[[str, dict[str, Any]], str]] = {
    ("event.begin", 4): _begin,
    ("event.begin", 6): _begin_shown,
    ("event.end", 6): _end,
}


def _message(record: logging.LogRecord) -> str:
    return record.msg if not record.args and isinstance(record.msg, str) else record.getMessage()


def _quoted(text: str) -> str:
    # Most are plain: json.dumps is called for those that need escaping only.
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)


def _json(value: Any) -> str:
    return to_json(value, fallback=lambda other: f"<{type(other).__name__}>", inf_nan_mode="null").decode()
