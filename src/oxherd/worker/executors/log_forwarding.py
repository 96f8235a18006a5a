"""Log records on their way from the process of a handler to its worker, whose own logging writes them."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from oxherd.privacy.log_redaction import STANDARD_ATTRIBUTES
from oxherd.worker.executors.protocol import Frame

_SENT = (
    "name",
    "levelno",
    "levelname",
    "created",
    "pathname",
    "filename",
    "module",
    "lineno",
    "funcName",
    "threadName",
)
_formatter = logging.Formatter()


def levels() -> Frame:
    """What this process's loggers let pass: a record that nobody writes need not be sent."""
    known = logging.root.manager.loggerDict.items()
    named = {name: logger.level for name, logger in known if isinstance(logger, logging.Logger) and logger.level}
    return {"root": logging.root.level, "named": named, "disable": logging.root.manager.disable}


def forward(handler: logging.Handler, passing: Frame) -> None:
    """Make `handler` the only one of this process, whatever the user's modules have set up in it."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(passing["named"].get(logger.name, logging.NOTSET))
    for name, level in passing["named"].items():
        logging.getLogger(name).setLevel(level)
    logging.root.setLevel(passing["root"])
    logging.disable(passing["disable"])
    logging.root.addHandler(handler)


def to_frame(record: logging.LogRecord) -> Frame:
    """A record, rendered, as a frame."""
    values = vars(record)
    fields = {name: values.get(name) for name in _SENT}
    fields["msg"] = record.getMessage()
    if record.exc_text:
        fields["exc_text"] = record.exc_text
    elif record.exc_info and record.exc_info[0] is not None:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    extra = {name: _plain(value) for name, value in values.items() if name not in STANDARD_ATTRIBUTES}
    return {"kind": "log", "record": fields, "process": os.getpid(), "extra": extra}


def handle(frame: Frame) -> None:
    """Give a record to this process's logging, as if it had been made here."""
    fields: Frame = frame["record"]
    created = fields["created"]
    logger = logging.getLogger(fields["name"])
    if not logger.isEnabledFor(fields["levelno"]):
        return
    times = {"msecs": int((created - int(created)) * 1000) + 0.0}
    logger.handle(logging.makeLogRecord({**frame["extra"], **fields, **times, "process": frame["process"]}))


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    try:
        plain = to_jsonable_python(value, fallback=_named, inf_nan_mode="null")
        json.dumps(plain)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return _named(value)
    return plain


def _named(value: Any) -> str:
    return f"<{type(value).__name__}>"
