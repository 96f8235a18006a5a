"""Redacts the log records that a handler makes: message, extras and tracebacks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from itertools import count
from traceback import TracebackException
from typing import Any, Final, cast

from pydantic_core import to_json

from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.redaction import LONGEST_TEXT, NO_TEXT, Redactor

UNREADABLE_RECORD: Final = "<withheld: the record's arguments do not fit>"
# What every record has; all else is the caller's extras.
STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_DEEPEST, _MOST_PARTS = 20, 1_000


def redact_record(record: logging.LogRecord, redactor: Redactor) -> None:
    """Redact a record in place; what cannot be read is withheld whole. Never raises.

    A traceback becomes text (`exc_text`): other log handlers would print the variables of its frames.
    """
    _redact_message(record, redactor)
    record.__dict__.pop("message", None)  # left there by another log handler's formatter
    if record.exc_info:
        error = record.exc_info[1]
        record.exc_info = None
        record.exc_text = None if error is None else _traceback(error, redactor)
    if record.stack_info:
        record.stack_info = _redacted_end(record.stack_info, redactor)
    extra = record.__dict__
    for name in [name for name in extra if name not in STANDARD_ATTRIBUTES]:
        value = _redacted(extra.pop(name), redactor, 0, count(1))
        extra[_unused(_redacted(name, redactor, 0, count(1)), extra)] = value


def _redact_message(record: logging.LogRecord, redactor: Redactor) -> None:
    given: Any = record.msg
    if isinstance(given, dict):  # structlog's, for its own formatter
        record.__dict__["msg"] = _structlog_event(cast("dict[Any, Any]", given), redactor)
        return
    try:
        text = redactor.redact(record.getMessage())
    except Exception:  # noqa: BLE001 - an argument's own __str__ may raise anything
        text = UNREADABLE_RECORD
    # Without the arguments, which a log handler may show in another form.
    record.msg, record.args = text, None


def _structlog_event(event: dict[Any, Any], redactor: Redactor) -> dict[Any, Any]:
    found: Any = event.get("exc_info")
    if found:
        exc_info = cast("tuple[Any, ...]", found if isinstance(found, tuple) else sys.exc_info())
        error = found if isinstance(found, BaseException) else exc_info[1]
        event = {key: value for key, value in event.items() if key != "exc_info"}
        if isinstance(error, BaseException):
            event["exception"] = _traceback(error, redactor)
    return cast("dict[Any, Any]", _redacted(event, redactor, 0, count(1)))


def _traceback(error: BaseException, redactor: Redactor) -> str:
    try:
        text = "".join(TracebackException.from_exception(error).format()).rstrip("\n")
    except Exception:  # noqa: BLE001 - as above
        return f"{type(error).__name__}: {NO_TEXT}"
    return _redacted_end(text, redactor)


def _redacted_end(text: str, redactor: Redactor) -> str:
    """The last lines of a long traceback: they say what was raised."""
    if len(text) > LONGEST_TEXT:
        text = text[-LONGEST_TEXT:].partition("\n")[2]
    return redactor.redact(text)


def _unused(key: Any, others: dict[Any, Any]) -> Any:
    """A key that is none of the others: redacted ones may be equal."""
    unused = key
    for number in count(2):
        if unused not in others:
            break
        unused = f"{key} {number}"
    return unused


def _redacted(value: Any, redactor: Redactor, depth: int, parts: Iterator[int]) -> Any:
    """A value of the same shape with its strings redacted; objects are kept or hidden whole."""
    kind = cast("type[Any]", type(value))
    if kind is bool or value is None:
        return value
    if depth > _DEEPEST or next(parts) > _MOST_PARTS:
        return HIDDEN
    if kind is str:
        return redactor.redact(value)
    if kind is dict:
        found: dict[Any, Any] = {}
        for key, part in cast("dict[Any, Any]", value).items():
            redacted = _redacted(part, redactor, depth + 1, parts)
            found[_unused(_redacted(key, redactor, depth + 1, parts), found)] = redacted
        return found
    if kind is list or kind is tuple:
        each = [_redacted(part, redactor, depth + 1, parts) for part in cast("list[Any]", value)]
        return each if kind is list else tuple(each)
    try:
        text = f"{value}\n{value!r}\n{to_json(value, fallback=repr).decode()}"
    except Exception:  # noqa: BLE001 - as above
        return HIDDEN
    return value if redactor.redact(text) == text else HIDDEN
