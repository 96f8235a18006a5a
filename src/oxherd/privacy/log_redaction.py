"""Redacts the log records that a handler makes: message, extras and names; tracebacks more strictly."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from itertools import islice
from typing import Any, Final, cast

from pydantic_core import to_json

from oxherd.privacy.budget import Budget
from oxherd.privacy.error_text import format_redacted
from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.redaction import LONGEST_TEXT, WITHHELD, Redactor

UNREADABLE_RECORD: Final = "<withheld: the record's arguments do not fit>"
# What every record has; all else is the caller's extras.
STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NAMES: Final = ("threadName", "processName", "taskName")
_DEEPEST, _MOST_PARTS = 20, 1_000
# Python's own: what they log quotes tasks, callbacks and errors, which nobody wrote for a log.
QUOTING_LOGGERS: Final = frozenset({"asyncio", "concurrent.futures", "py.warnings"})
# Those of errors beside the handlers; their fields are ours.
UNHANDLED: Final = "oxherd.unhandled"
REPORTING_LOGGERS: Final = QUOTING_LOGGERS | {UNHANDLED}


def redact_record(record: logging.LogRecord, own: Redactor | None, strict: Redactor) -> None:
    """Redact a record in place; what cannot be read in time is withheld. Never raises.

    `own` says what is withheld from what a handler writes itself, if anything; `strict` from errors. A traceback
    becomes text (`exc_text`): other log handlers would print the variables of its frames.
    """
    budget = Budget()
    if record.name in QUOTING_LOGGERS:
        own = strict
    if record.exc_info:
        error = record.exc_info[1]
        record.exc_info = None
        record.exc_text = None if error is None else _traceback(error, strict, budget)
    elif record.exc_text:
        record.exc_text = strict.redact(record.exc_text, budget)
    if record.stack_info:
        record.stack_info = strict.redact(record.stack_info, budget)
    if isinstance(record.msg, dict):  # structlog's, for its own formatter
        _lift_structlog_error(record, strict, budget)
    if own is None:
        return
    part = _Part(own, budget)
    _redact_message(record, part)
    extra = record.__dict__
    extra.pop("message", None)  # left there by another log handler's formatter
    for name in _NAMES:
        if extra.get(name):
            extra[name] = part.redacted(extra[name])
    names = [name for name in extra if name not in STANDARD_ATTRIBUTES]
    extra.update(part.redacted({name: extra.pop(name) for name in names}))


def _redact_message(record: logging.LogRecord, part: _Part) -> None:
    given: Any = record.msg
    if isinstance(given, dict):
        record.__dict__["msg"] = part.redacted(given)
        return
    try:
        text = part.redacted(record.getMessage())
    except Exception:  # noqa: BLE001 - an argument's own __str__ may raise anything
        text = UNREADABLE_RECORD
    # Without the arguments, which a log handler may show in another form.
    record.msg, record.args = text, None


def _lift_structlog_error(record: logging.LogRecord, strict: Redactor, budget: Budget) -> None:
    event = cast("dict[Any, Any]", record.msg)
    found: Any = event.get("exc_info")
    if found:
        exc_info = cast("tuple[Any, ...]", found if isinstance(found, tuple) else sys.exc_info())
        error = found if isinstance(found, BaseException) else exc_info[1]
        event = {key: value for key, value in event.items() if key != "exc_info"}
        if isinstance(error, BaseException):
            event["exception"] = _traceback(error, strict, budget)
        record.__dict__["msg"] = event


def _traceback(error: BaseException, strict: Redactor, budget: Budget) -> str:
    try:
        return format_redacted(error, strict, budget)
    except Exception:  # noqa: BLE001 - as above
        return f"{type(error).__name__}: {WITHHELD}"


class _Part:
    """Redacts the parts of one record."""

    def __init__(self, redactor: Redactor, budget: Budget) -> None:
        self._redactor = redactor
        self._budget = budget
        self._left = _MOST_PARTS

    def redacted(self, value: Any, depth: int = 0) -> Any:
        """A value of the same shape with its strings redacted; objects are kept or hidden whole."""
        kind = cast("type[Any]", type(value))
        if kind is bool or value is None:
            return value
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            return WITHHELD
        if kind is str:
            return self._redactor.redact(value, self._budget)
        if kind is dict:
            return self._redacted_pairs(cast("dict[Any, Any]", value), depth + 1)
        if kind is list or kind is tuple:
            parts = cast("list[Any]", value)
            each = [self.redacted(part, depth + 1) for part in parts[: self._left]]
            each += [WITHHELD] * (len(each) < len(parts))
            return each if kind is list else tuple(each)
        return value if self._is_harmless(value) else HIDDEN

    def _redacted_pairs(self, pairs: dict[Any, Any], depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        alike: Counter[Any] = Counter()
        for name, value in islice(pairs.items(), self._left):
            key = self.redacted(name, depth)
            alike[key] += 1
            found[key if alike[key] == 1 else f"{key} {alike[key]}"] = self.redacted(value, depth)
        if len(found) < len(pairs):
            found[WITHHELD] = WITHHELD
        return found

    def _is_harmless(self, value: Any) -> bool:
        try:
            for write in (str, repr) if isinstance(value, int | float) else (repr, str, _as_json):
                self._budget.spend(100)
                text = write(value)
                self._budget.spend(len(text))
                if len(text) > LONGEST_TEXT or self._redactor.redact(text, self._budget) != text:
                    return False
        except Exception:  # noqa: BLE001 - as above
            return False
        return True


def _as_json(value: Any) -> str:
    return to_json(value, fallback=repr).decode()
