"""Writes an event's begin and end without a log record, where our own JSON handler alone would see one.

A record takes more time than all else that a worker does for an event. It is made wherever anybody else might see or
change it: another handler, a filter, a formatter, a record factory, a logger class, a library that has replaced a
method of logging's through which records pass.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from oxherd.context import ContextFilter
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from oxherd.telemetry.logs.line_handler import LineHandler

_root = logging.getLogger()


def write_straight(
    logger: logging.Logger, level: int, message: str, fields: Mapping[str, Any], payload: bytes | None
) -> bool:
    """Write the line of a begin or end; False if a record has to be made of it instead."""
    try:
        # Not by index: another thread may remove them.
        [handler] = _root.handlers
        [only_filter] = handler.filters
    except ValueError:
        return False
    formatter = handler.formatter
    if (
        type(handler) is not LineHandler
        or type(formatter) is not JSONFormatter
        or type(only_filter) is not ContextFilter
        or handler.level > level
        or logger.handlers
        or logger.filters
        or not logger.propagate
        or type(logger) is not logging.Logger
        or logging.getLogRecordFactory() is not logging.LogRecord
        or logging.Logger.handle is not _HANDLE
        or logging.Logger.callHandlers is not _CALL_HANDLERS
        or logging.Handler.handle is not _HANDLER_HANDLE
    ):
        return False
    handler.acquire()
    try:
        handler.write_line(formatter.lifecycle_line(time.time(), logging.getLevelName(level), message, fields, payload))
    finally:
        handler.release()
    return True


def _unpatched(method: Callable[..., Any]) -> Callable[..., Any] | None:
    """A method of logging's if it is its own; None if another library, such as an error tracker, has replaced it."""
    return method if method.__module__ == logging.__name__ and not hasattr(method, "__wrapped__") else None


_HANDLE, _CALL_HANDLERS = _unpatched(logging.Logger.handle), _unpatched(logging.Logger.callHandlers)
_HANDLER_HANDLE = _unpatched(logging.Handler.handle)
