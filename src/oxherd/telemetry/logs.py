"""The one place that makes log records of signals; they go to the standard logger `oxherd`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from oxherd.signals import (
    ErrorInfo,
    EventBegan,
    EventEnded,
    QueueFault,
    RedisFault,
    RedisRecovered,
    Signal,
    WorkerStarted,
    WorkerStopped,
)

logger = logging.getLogger("oxherd")
# An application that configures no logging is not printed to (logging's handler of last resort would).
logger.addHandler(logging.NullHandler())

_LEVELS = {
    "completed": logging.INFO,
    "requeued": logging.INFO,
    "retrying": logging.WARNING,
    "timed_out": logging.ERROR,
    "cancelled": logging.ERROR,
    "discarded": logging.ERROR,
    "failed": logging.ERROR,
    "lost": logging.ERROR,
}


class LogSubscriber:
    """Turns each signal into one record; its fields are the record's attributes, as the contract names them."""

    def __init__(self) -> None:
        self._makers: dict[type[Any], Callable[[Any], tuple[int, str, dict[str, Any]]]] = {
            EventBegan: _began,
            EventEnded: _ended,
            QueueFault: _queue_fault,
            RedisFault: _redis_fault,
            RedisRecovered: _recovered,
            WorkerStarted: _started,
            WorkerStopped: _stopped,
        }

    def __call__(self, signal: Signal) -> None:
        level, message, fields = self._makers[type(signal)](signal)
        if not logger.isEnabledFor(level):
            return
        logger.handle(_record(level, message, fields))


_TEMPLATES: dict[int, dict[str, Any]] = {}


def _record(level: int, message: str, fields: dict[str, Any]) -> logging.LogRecord:
    """A record like any other, copied from one of its level: LogRecord's constructor looks up caller, thread and task,
    which are the same each time, and would be the most expensive step of all."""
    if logging.getLogRecordFactory() is not logging.LogRecord:
        record = logging.getLogRecordFactory()("oxherd", level, __file__, 0, message, None, None)
        record.__dict__.update(fields)
        return record
    thread = threading.get_ident()
    template = _TEMPLATES.get(level)
    if template is None or template["thread"] != thread or template["process"] != os.getpid():
        template = _TEMPLATES[level] = vars(logging.LogRecord("oxherd", level, __file__, 0, message, None, None)).copy()
    record = logging.LogRecord.__new__(logging.LogRecord)
    now = time.time()
    values = record.__dict__
    values.update(template)
    values["msg"] = message
    values["created"] = now
    values["msecs"] = int((now - int(now)) * 1000) + 0.0
    values["relativeCreated"] = template["relativeCreated"] + (now - template["created"]) * 1000
    values.update(fields)
    return record


def _began(signal: EventBegan) -> tuple[int, str, dict[str, Any]]:
    fields: dict[str, Any] = {
        "event": signal.event,
        "event_id": signal.event_id,
        "attempt": signal.attempt,
        "fence": signal.fence,
    }
    if signal.shown.json is not None:
        fields["payload"] = signal.shown.value
        fields["_payload_json"] = signal.shown.json  # what is JSON already need not be written again
    return logging.INFO, "event.begin", fields


def _ended(signal: EventEnded) -> tuple[int, str, dict[str, Any]]:
    fields: dict[str, Any] = {
        "event": signal.event,
        "event_id": signal.event_id,
        "attempt": signal.attempt,
        "fence": signal.fence,
        "outcome": signal.outcome,
        "duration_ms": round(signal.duration_ms, 3),
    }
    if signal.error is not None:
        fields["error"] = _error(signal.error)
    return _LEVELS[signal.outcome], "event.end", fields


def _queue_fault(signal: QueueFault) -> tuple[int, str, dict[str, Any]]:
    fields: dict[str, Any] = {"source": signal.source, "queue": signal.queue, "error": _error(signal.error)}
    if signal.event is not None:
        fields["event"] = signal.event
    if signal.event_id is not None:
        fields["event_id"] = signal.event_id
    if signal.attempt is not None:
        fields["attempt"] = signal.attempt
    return logging.ERROR, "queue.error", fields


def _redis_fault(signal: RedisFault) -> tuple[int, str, dict[str, Any]]:
    fields = {"source": signal.source, "node": signal.node, "error": _error(signal.error)}
    return logging.ERROR, "redis.error", fields


def _recovered(signal: RedisRecovered) -> tuple[int, str, dict[str, Any]]:
    return logging.WARNING, "redis.recovered", {"node": signal.node, "outage_ms": round(signal.outage_ms, 3)}


def _started(signal: WorkerStarted) -> tuple[int, str, dict[str, Any]]:
    return logging.INFO, "worker.start", {"events": signal.events, "server": signal.server}


def _stopped(signal: WorkerStopped) -> tuple[int, str, dict[str, Any]]:
    counts = {"drained": signal.drained, "requeued": signal.requeued, "stranded": signal.stranded}
    return logging.INFO, "worker.stop", {"events": signal.events, **counts}


def _error(error: ErrorInfo) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.stack:
        fields["stack"] = error.stack
    return fields
