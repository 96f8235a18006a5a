"""Reports what fails beside the handlers: in threads, callbacks, tasks that nobody awaits, in `__del__`; and warnings.

Nothing says which event such an error belongs to, so no payload is known that its text could be redacted of. Its type
and where it was raised are logged, its text is not. For a process of oxherd's own only.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from typing import Any, Final

from oxherd.privacy.log_redaction import QUOTING_LOGGERS, UNHANDLED
from oxherd.privacy.redaction import WITHHELD
from oxherd.privacy.stack import exception_stack

_log = logging.getLogger(UNHANDLED)
# Of asyncio's own texts, and ours, what stands before a quoted task or callback.
_KNOWN: Final = re.compile(
    r"(Task|Future) exception was never retrieved|Task was destroyed but it is pending!|Exception in callback"
    r"|Unhandled exception in [a-z_]+|unhandled exception during asyncio\.run\(\) shutdown|Fatal [a-zA-Z ]+"
    r"|a task or callback raised (KeyboardInterrupt|SystemExit)"
)
_WARNING: Final = re.compile(r"[^/\\\n]+:\d+: \w+")


def log_unhandled() -> None:
    """Log what Python would print, without its text; leaves alone what the application has set."""
    logging.captureWarnings(True)
    for name in QUOTING_LOGGERS:
        logging.getLogger(name).addFilter(_WITHOUT_QUOTES)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable


class _WithoutQuotes(logging.Filter):
    """Keeps of a record of Python's own what is no quote."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        if record.name == "py.warnings":
            found = _WARNING.search(record.getMessage())
            record.msg, record.args = found[0] if found else WITHHELD, None
        elif isinstance(record.args, tuple) and record.args:
            record.args = tuple(each if type(each) in (int, float) else WITHHELD for each in record.args)
        else:
            found = _KNOWN.match(text)
            record.msg, record.args = found[0] if found else WITHHELD, None
        record.exc_info = record.exc_text = record.stack_info = None
        record.__dict__.update(_nameless(error))
        return True


_WITHOUT_QUOTES: Final = _WithoutQuotes()


def _of_thread(report: threading.ExceptHookArgs) -> None:
    if not issubclass(report.exc_type, SystemExit):
        _report("an error ended a thread", report.exc_value)


def _unraisable(report: sys.UnraisableHookArgs) -> None:
    where = getattr(report.object, "__qualname__", type(report.object).__name__)
    _report(f"an error in {where} was ignored", report.exc_value)


def _report(message: str, error: BaseException | None) -> None:
    record = _log.makeRecord(_log.name, logging.ERROR, __file__, 0, message, (), None)
    record.__dict__.update(_nameless(error))
    _log.handle(record)


def _nameless(error: BaseException | None) -> dict[str, Any]:
    """A record's fields for an error, and no name of a thread or task, which may hold anything."""
    fields: dict[str, Any] = {"threadName": None, "taskName": None}
    if error is not None:
        stack = exception_stack(error)
        fields["error"] = {"type": type(error).__name__, "message": WITHHELD} | ({"stack": stack} if stack else {})
    return fields
