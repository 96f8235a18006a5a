"""The reader of the JSON log on any bytes, and its writer on any record."""

from __future__ import annotations

import json
import logging
import re
from typing import Any, cast

from pydantic import SecretStr

from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.reader import read_records
from tests.fuzz.oracle import in_time
from tests.fuzz.source import Source, as_bytes

_KEYS = (
    "ts", "level", "logger", "msg", "event", "event_id", "attempt", "fence", "payload", "outcome", "duration_ms",
    "error", "source", "queue", "node", "server", "events", "outage_ms", "drained", "exception", "extra_ts", "type",
    "message", "stack", "_payload_json", "_hidden", "taskName", "exc_text", "name with \"quotes\"", "stranded",
)  # fmt: skip
_MESSAGES = ("event.begin", "event.end", "queue.error", "worker.start", "%s", "%d %s", "%(a)s", "%", "done", "{}")
_NAMES = ("oxherd", "root", "oxherd.event.a", "shop", 'a"b\n')
_SGR = re.compile("\033\\[(?:0|1|31|32|33|90)m")
_JSON, _PLAIN, _COLOURED = JSONFormatter(), ConsoleFormatter(colour=False), ConsoleFormatter(colour=True)


class _Odd:
    """Can neither be written nor named."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class _Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@in_time
def reader(data: bytes) -> None:
    """Any bytes, as they are and as lines that are nearly records; each complete line is a record or told."""
    source = Source(data, _KEYS)
    lines = (as_bytes(source.object() if source.flag() else source.json()) for _ in range(source.below(5)))
    ends = (source.choose((b"\n", b"\n\n", b"\r\n", b"", b"\0", b"\x85", b"\x0b")) for _ in range(5))
    for raw in (data, b"".join(line + end for line, end in zip(lines, ends, strict=False))):
        others: list[bytes] = []
        found = list(read_records(raw, others.append))
        assert len(found) + len(others) == raw.count(b"\n")
        for record in found:
            json.dumps(record)


@in_time
def writer(data: bytes) -> None:
    """Any record becomes one line of JSON that says the contract's keys itself, and one entry on the console."""
    source = Source(data, _KEYS)
    record = _record(source)
    text = _JSON.format(record)
    line = text.encode("utf-8", "backslashreplace") + b"\n"
    assert line.count(b"\n") == 1
    assert line.count(b"\r") == 0
    pairs = cast("list[tuple[str, Any]]", json.loads(line, object_pairs_hook=list, parse_constant=_refuse))
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), names
    assert names[:4] == ["ts", "level", "logger", "msg"]
    assert dict(pairs)["logger"] == json.loads(json.dumps(record.name))  # which joins surrogates
    (read,) = read_records(line)
    assert read["level"] == record.levelname
    _console(record)


def _console(record: logging.LogRecord) -> None:
    plain = _PLAIN.format(record)
    first, *others = plain.encode("utf-8", "backslashreplace").decode().split("\n")
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}(  |$)", first), first
    assert not _dangerous(first), first
    for other in others:
        assert other.startswith("    "), other
        assert not _dangerous(other), other
    assert not _dangerous(_SGR.sub("", _COLOURED.format(record)).replace("\n", ""))


def _dangerous(text: str) -> bool:
    return any(
        ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202e\u2066" or "\ud800" <= c <= "\udfff" for c in text
    )


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


def _record(source: Source) -> logging.LogRecord:
    message: Any = source.choose(_MESSAGES) if source.flag() else _value(source)
    args: Any = tuple(_value(source) for _ in range(source.below(3))) or None
    level = source.choose((logging.INFO, logging.ERROR, 7))
    name = source.choose(_NAMES) if source.below(4) else source.text()
    record = logging.LogRecord(name, level, __file__, 1, message, args, None)
    if source.below(4) == 3:
        record.created = source.choose((0.0, -1.0, 1e12, 1e20, float("nan"), float("inf")))
    for _ in range(source.below(7)):
        key: Any = source.choose((*_KEYS, source.text(), 3))
        record.__dict__[key] = _value(source)
    if source.below(4) == 3:
        error = source.choose((ValueError(source.text()), _Mute(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")))
        record.exc_info = (type(error), error, None)
    return record


def _value(source: Source, depth: int = 0) -> Any:
    kind = source.below(14)
    if kind < 4 or depth > 3:
        return source.text()
    if kind == 4:
        return source.choose((None, True, 0, -1, 3.5, 10**30, 10**5000, float("nan"), float("-inf"), 1j))
    if kind == 5:
        return source.choose((_Odd(), object(), _Odd, SecretStr("secret"), b"\xff", {1, 2}, range(3), Ellipsis))
    if kind < 9:
        return [_value(source, depth + 1) for _ in range(source.below(4))]
    if kind < 12:
        keys: list[Any] = [source.choose((*_KEYS, source.text(), 3, None, (1,))) for _ in range(source.below(4))]
        return {key: _value(source, depth + 1) for key in keys}
    return _circular() if kind == 12 else _nested(2 ** source.below(13))


def _circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found
