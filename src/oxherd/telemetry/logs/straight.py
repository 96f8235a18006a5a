"""Writes an event's begin and end without a log record, where our own JSON handler alone would see one.

A record takes more time than all else that a worker does for an event. It is made wherever anybody else might see or
change it: another handler, a filter, a formatter, a record factory, a logger class, a method of logging's that somebody
has replaced, for all objects or for ours.
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
    kind = type(logger)
    if (
        logger.handlers
        or logger.filters
        or not logger.propagate
        or logger.parent is not _root
        or logging.getLogRecordFactory() is not logging.LogRecord
        or kind.handle is not _HANDLE
        or kind.callHandlers is not _CALL_HANDLERS
        or kind.filter is not _FILTER
        or len(logger.__dict__) != _LOGGER_SIZE
    ):
        return False
    formatter = handler.formatter
    if type(handler) is not LineHandler or type(formatter) is not JSONFormatter or handler.level > level:
        return False
    if (
        type(only_filter) is not ContextFilter
        or LineHandler.handle is not _HANDLER_HANDLE
        or LineHandler.filter is not _FILTER
        or LineHandler.format is not _HANDLER_FORMAT
        or len(handler.__dict__) != handler.size
        or "format" in formatter.__dict__
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
_HANDLER_HANDLE, _HANDLER_FORMAT = _unpatched(logging.Handler.handle), _unpatched(logging.Handler.format)
_FILTER = _unpatched(logging.Filterer.filter)
# An object has more attributes than it was made with where one of its methods was replaced.
_LOGGER_SIZE = len(vars(logging.getLogger("oxherd.log")))
