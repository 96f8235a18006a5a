"""Log records that a user's handler makes, without what its event's log does not show: message, extras, tracebacks."""

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
# What every record has: the rest is a caller's own.
STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_PLAIN: Final = frozenset({bool, type(None)})
_DEEPEST, _MOST_PARTS = 20, 1_000


def redact(record: logging.LogRecord, redactor: Redactor) -> None:
    """Replace what is withheld in a record, where it stands; what cannot be read is withheld whole. Never raises.

    A traceback becomes text (`exc_text`), since others would print the values of its frames.
    """
    _message(record, redactor)
    record.__dict__.pop("message", None)  # what another log handler's formatter has left there
    if record.exc_info:
        error = record.exc_info[1]
        record.exc_info = None
        record.exc_text = None if error is None else _traceback(error, redactor)
    if record.stack_info:
        record.stack_info = _end_of(record.stack_info, redactor)
    extra = record.__dict__
    for name in [name for name in extra if name not in STANDARD]:
        value = _value(extra.pop(name), redactor, 0, count(1))
        extra[_key(_value(name, redactor, 0, count(1)), extra)] = value


def _message(record: logging.LogRecord, redactor: Redactor) -> None:
    given: Any = record.msg
    if isinstance(given, dict):  # structlog's, for a formatter of its own
        record.__dict__["msg"] = _event(cast("dict[Any, Any]", given), redactor)
        return
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - an argument's own __str__ may raise anything
        record.msg, record.args = UNREADABLE_RECORD, None
        return
    # The arguments go in any case: somebody may show them otherwise than they stand in the text.
    record.msg, record.args = redactor.scrub(text), None


def _event(event: dict[Any, Any], redactor: Redactor) -> dict[Any, Any]:
    """structlog's fields, its `exc_info` as text."""
    found: Any = event.get("exc_info")
    if found:
        told = cast("tuple[Any, ...]", found if isinstance(found, tuple) else sys.exc_info())
        error = found if isinstance(found, BaseException) else told[1]
        event = {key: value for key, value in event.items() if key != "exc_info"}
        if isinstance(error, BaseException):
            event["exception"] = _traceback(error, redactor)
    return cast("dict[Any, Any]", _value(event, redactor, 0, count(1)))


def _traceback(error: BaseException, redactor: Redactor) -> str:
    try:
        text = "".join(TracebackException.from_exception(error).format()).rstrip("\n")
    except Exception:  # noqa: BLE001 - as above
        return f"{type(error).__name__}: {NO_TEXT}"
    return _end_of(text, redactor)


def _end_of(text: str, redactor: Redactor) -> str:
    """A long text's last lines, which say what was raised."""
    if len(text) > LONGEST_TEXT:
        text = text[-LONGEST_TEXT:].partition("\n")[2]
    return redactor.scrub(text)


def _key(key: Any, others: dict[Any, Any]) -> Any:
    """A key by which none of the others is lost: those that are withheld look alike."""
    free = key
    for number in count(2):
        if free not in others:
            break
        free = f"{key} {number}"
    return free


def _value(value: Any, redactor: Redactor, depth: int, parts: Iterator[int]) -> Any:
    """A value of the user's, in the same shape, as far as anything of it is not withheld."""
    kind = cast("type[Any]", type(value))
    if kind in _PLAIN:
        return value
    if depth > _DEEPEST or next(parts) > _MOST_PARTS:
        return HIDDEN
    if kind is str:
        return redactor.scrub(value)
    if kind is dict:
        found: dict[Any, Any] = {}
        for key, part in cast("dict[Any, Any]", value).items():
            shown = _value(part, redactor, depth + 1, parts)
            found[_key(_value(key, redactor, depth + 1, parts), found)] = shown
        return found
    if kind is list or kind is tuple:
        each = [_value(part, redactor, depth + 1, parts) for part in cast("list[Any]", value)]
        return each if kind is list else tuple(each)
    try:
        text = f"{value}\n{value!r}\n{to_json(value, fallback=repr).decode()}"
    except Exception:  # noqa: BLE001 - as above
        return HIDDEN
    return value if redactor.scrub(text) == text else HIDDEN
