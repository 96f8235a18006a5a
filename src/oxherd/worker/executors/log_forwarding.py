"""Log records on their way from a handler's process to the worker, whose own logging writes them."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from oxherd.context import enabled_logger
from oxherd.privacy.log_redaction import STANDARD_ATTRIBUTES
from oxherd.worker.executors.protocol import Message

_FIELDS = (
    "name", "levelno", "levelname", "created", "pathname", "filename", "module", "lineno", "funcName", "threadName",
)  # fmt: skip
_formatter = logging.Formatter()


def levels() -> Message:
    """The levels of this process's loggers, so that the other need not send what nobody writes."""
    known = logging.root.manager.loggerDict.items()
    named = {name: logger.level for name, logger in known if isinstance(logger, logging.Logger) and logger.level}
    return {"root": logging.root.level, "named": named, "disable": logging.root.manager.disable}


def forward_to(handler: logging.Handler, levels: Message) -> None:
    """Make `handler` this process's only one, with the worker's levels, whatever the user's modules have set up."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(levels["named"].get(logger.name, logging.NOTSET))
    for name, level in levels["named"].items():
        logging.getLogger(name).setLevel(level)
    logging.root.setLevel(levels["root"])
    logging.disable(levels["disable"])
    logging.root.addHandler(handler)


def to_message(record: logging.LogRecord) -> Message:
    """A record, rendered, as a message to the worker."""
    values = vars(record)
    fields = {name: values.get(name) for name in _FIELDS}
    fields["msg"] = record.getMessage()
    if record.exc_text:
        fields["exc_text"] = record.exc_text
    elif record.exc_info and record.exc_info[0] is not None:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    extra = {name: _plain(value) for name, value in values.items() if name not in STANDARD_ATTRIBUTES}
    return {"kind": "log", "record": fields, "process": os.getpid(), "extra": extra}


def log_record(message: Message) -> None:
    """Log a handler's record in the worker; if that fails, say so."""
    fields: Message = message["record"]
    try:
        created = fields["created"]
        logger = logging.getLogger(fields["name"])
        if logger.isEnabledFor(fields["levelno"]):
            times = {"msecs": int((created - int(created)) * 1000) + 0.0}
            logger.handle(logging.makeLogRecord({**message["extra"], **fields, **times, "process": message["process"]}))
    except Exception as error:  # noqa: BLE001 - a user's filter that raises must not end the process it speaks of
        enabled_logger().error("a log record could not be handled: %s", type(error).__name__)


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    try:
        plain = to_jsonable_python(value, fallback=_type_name, inf_nan_mode="null")
        json.dumps(plain)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return _type_name(value)
    return plain


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"
