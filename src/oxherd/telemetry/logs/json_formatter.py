"""Formats log records as JSON lines."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, cast

from pydantic_core import from_json, to_json

from oxherd.context import extra_name
from oxherd.privacy.log_redaction import STANDARD_ATTRIBUTES

BEGIN, END = "event.begin", "event.end"
# How many fields each has at least.
_LIFECYCLE_FIELDS: dict[object, int] = {BEGIN: 4, END: 6}
# Keys of the contract, which need no quoting.
FIELDS = frozenset({"event", "event_id", "caused_by", "root", "outcome", "source", "queue", "node", "server"})
_RESERVED = frozenset({"ts", "level", "logger", "msg", "exception"})
# Python parses no longer integers.
_MAX_DIGITS = 4_300
_MAX_INT = 10 ** (_MAX_DIGITS - 1)
_DIGITS = re.compile(rf"\d{{{_MAX_DIGITS}}}")
_BREAKS = re.compile("[\x80-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MAX_DEPTH, _MAX_PARTS = 20, 1_000
_YEAR_10000 = 253_402_300_800
UNWRITABLE = "a log record could not be written"
_STANDARD_COUNT = len(vars(logging.LogRecord("", 0, "", 0, "", None, None)))


class JSONFormatter(logging.Formatter):
    """Formats a record as one line of JSON: the contract's keys first, then any other `extra`."""

    def __init__(self) -> None:
        super().__init__()
        self._second: int | None = None
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return self._line(record)
        except Exception as error:  # noqa: BLE001 - a record may hold anything, and no record may be lost
            return self._unwritable(record, error)

    def lifecycle_line(
        self, created: float, level: str, message: str, fields: Mapping[str, Any], payload: bytes | None
    ) -> str:
        """The line of an event's begin or end, without a record: its fields in the contract's order, then `payload`."""
        return _lifecycle_line(self._timestamp(created), level, message, fields, payload)

    def _line(self, record: logging.LogRecord) -> str:
        extra = record.__dict__
        stamp = self._timestamp(record.created)
        if record.name == "oxherd" and record.lineno == 0 and _is_plain(record.msg, extra):  # made from a signal
            return _lifecycle_line(stamp, record.levelname, record.msg, extra, extra.get("_payload_json"))
        parts = [_head(stamp, record, message_of(record))]
        for name, value in extra.items():
            if name in STANDARD_ATTRIBUTES or value is None:
                continue
            if type(name) is not str or name in _RESERVED:  # pyright: ignore[reportUnnecessaryComparison]
                name = extra_name(name, extra)
            elif name.startswith("_"):
                continue
            kind = cast("type[Any]", type(value))
            if kind is str:
                parts.append(f'"{name}":{_quoted(value)}' if name in FIELDS else f"{_quoted(name)}:{_quoted(value)}")
            elif kind is int and -_MAX_INT < value < _MAX_INT:
                parts.append(f"{_quoted(name)}:{value}")
            else:
                parts.append(f"{_quoted(name)}:{_json(value)}")
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        if trace:
            parts.append(f'"exception":{_quoted(trace)}')
        return ",".join(parts) + "}"

    def _unwritable(self, record: logging.LogRecord, error: Exception) -> str:
        stamp = self._timestamp(time.time())
        return f"{_head(stamp, record, UNWRITABLE)},{_quoted('error')}:{_json({'type': type(error).__name__})}}}"

    def _timestamp(self, created: float) -> str:
        second = math.floor(created)
        if second != self._second:
            if not 0 <= second < _YEAR_10000:
                raise ValueError
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return "%s.%06dZ" % (self._stamp, (created - second) * 1_000_000)  # noqa: UP031 - faster than an f-string here


# Names and ids need no quoting, and one expression is several times cheaper than a walk over the attributes.


def _lifecycle_line(stamp: str, level: str, message: str, fields: Mapping[str, Any], payload: bytes | None) -> str:
    line = (
        f'{{"ts":"{stamp}","level":{_quoted_level(level)},"logger":"oxherd","msg":"{message}","event":"{fields["event"]}",'
        f'"event_id":"{fields["event_id"]}","attempt":{fields["attempt"]},"fence":{fields["fence"]}'
    )
    if message == END:
        line += f',"outcome":"{fields["outcome"]}","duration_ms":{fields["duration_ms"]}'
    if "caused_by" in fields:
        line += f',"caused_by":"{fields["caused_by"]}","root":"{fields["root"]}"'
    return line + (f',"payload":{_one_line(payload.decode())}}}' if payload is not None else "}")


def _is_plain(message: object, extra: Mapping[str, Any]) -> bool:
    """Whether a record of an event has the fields that `_lifecycle_line` writes, no others, and its first payload."""
    own = _LIFECYCLE_FIELDS.get(message)
    if own is None:
        return False
    count = len(extra) - _STANDARD_COUNT
    shown = extra.get("_payload_json")
    if shown is None:
        return count == own + 2 * ("caused_by" in extra)
    # A user's filter may have hidden some of it.
    return count == own + 2 * ("caused_by" in extra) + 2 and from_json(shown) == extra.get("payload")


def message_of(record: logging.LogRecord) -> str:
    """Return a record's message; without its arguments, if they do not fit."""
    if not record.args and type(record.msg) is str:
        return record.msg
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - an argument's own __str__ may raise anything
        text = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
        return f"{text} (its arguments do not fit)" if record.args else text


def _head(stamp: str, record: logging.LogRecord, message: str) -> str:
    level, name = _quoted(str(record.levelname)), _quoted(str(record.name))
    return f'{{"ts":"{stamp}","level":{level},"logger":{name},"msg":{_quoted(message)}'


def _quoted(text: str) -> str:
    # Most text is plain, which is cheaper to check than json.dumps is to call.
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)


# Anything, by `logging.addLevelName`.
_quoted_level = lru_cache(maxsize=64)(_quoted)


def _json(value: Any) -> str:
    kind = cast("type[Any]", type(value))
    try:
        if kind is not int:
            text = to_json(value, fallback=_type_name, inf_nan_mode="null").decode()
            if len(text) < _MAX_DIGITS or not _DIGITS.search(text):
                return _one_line(text)
    except Exception:  # noqa: BLE001, S110 - a value's own code may raise anything
        pass
    cleaned = _cleaned(value, 0, count(1))
    try:
        return _one_line(to_json(cleaned, fallback=_type_name, inf_nan_mode="null").decode())
    except Exception:  # noqa: BLE001 - as above
        return _quoted(_type_name(value))


def _one_line(text: str) -> str:
    """Escape what ends a line or steers a terminal in some readers of JSON."""
    return text if text.isascii() else _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _cleaned(value: Any, depth: int, parts: Iterator[int]) -> Any:
    """Replace what JSON cannot hold: invalid Unicode, endless numbers, cycles."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, int) and not -_MAX_INT < value < _MAX_INT:
        return _type_name(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth > _MAX_DEPTH or next(parts) > _MAX_PARTS:
        return _type_name(value)
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {_cleaned(key, _MAX_DEPTH, parts): _cleaned(part, depth + 1, parts) for key, part in pairs}
    return [_cleaned(part, depth + 1, parts) for part in cast("list[Any]", value)]


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"
