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
    EventAttempt,
    EventBegan,
    EventEnded,
    LoopBlocked,
    LoopUnblocked,
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
        self._makers: dict[type[Any], Maker] = {
            EventBegan: (_info, "event.begin", _began),
            EventEnded: (_by_outcome, "event.end", _ended),
            QueueFault: (_error_level, "queue.error", _queue_fault),
            RedisFault: (_error_level, "redis.error", _redis_fault),
            RedisRecovered: (_warning, "redis.recovered", _recovered),
            WorkerStarted: (_info, "worker.start", _started),
            WorkerStopped: (_info, "worker.stop", _stopped),
            LoopBlocked: (_warning, "worker.blocked", _blocked),
            LoopUnblocked: (_warning, "worker.unblocked", _unblocked),
        }

    def __call__(self, signal: Signal) -> None:
        level_of, message, fields = self._makers[type(signal)]
        level = level_of(signal)
        if logger.isEnabledFor(level):
            logger.handle(_record(level, message, fields(signal)))


# A signal's level, its message, and its fields.
Maker = tuple[Callable[[Any], int], str, Callable[[Any], dict[str, Any]]]


class _Here(threading.local):
    """A thread's own templates, by level: by its number they would be those of an ended one that had it."""

    def __init__(self) -> None:
        self.templates: dict[int, dict[str, Any]] = {}


_HERE = _Here()
# A fork begins anew, since a record names its process.
os.register_at_fork(after_in_child=lambda: _HERE.templates.clear())


def _record(level: int, message: str, fields: dict[str, Any]) -> logging.LogRecord:
    """A record like any other, copied from one of its level: LogRecord's constructor looks up caller, thread and task,
    which are the same each time, and would be the most expensive step of all."""
    if logging.getLogRecordFactory() is not logging.LogRecord:
        record = logging.getLogRecordFactory()("oxherd", level, __file__, 0, message, None, None)
        record.__dict__.update(fields)
        return record
    templates = _HERE.templates
    template = templates.get(level)
    if template is None:
        template = templates[level] = vars(logging.LogRecord("oxherd", level, __file__, 0, message, None, None)).copy()
        if "taskName" in template:  # from Python 3.12 on; it would be the first one's for ever
            template["taskName"] = None
    now = time.time()
    values = template.copy()
    values["msg"] = message
    values["created"] = now
    values["msecs"] = int((now - int(now)) * 1000) + 0.0
    values["relativeCreated"] = template["relativeCreated"] + (now - template["created"]) * 1000
    values.update(fields)
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = values
    return record


def _info(_: Any) -> int:
    return logging.INFO


def _warning(_: Any) -> int:
    return logging.WARNING


def _error_level(_: Any) -> int:
    return logging.ERROR


def _by_outcome(signal: EventEnded) -> int:
    return _LEVELS[signal.outcome]


def _began(signal: EventBegan) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": signal.event,
        "event_id": signal.event_id,
        "attempt": signal.attempt,
        "fence": signal.fence,
    }
    if signal.root is not None:
        fields["caused_by"], fields["root"] = signal.caused_by, signal.root
    if signal.shown.json is not None:
        fields["payload"] = signal.shown.value
        fields["_payload_json"] = signal.shown.json  # what is JSON already need not be written again
    return fields


def _ended(signal: EventEnded) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": signal.event,
        "event_id": signal.event_id,
        "attempt": signal.attempt,
        "fence": signal.fence,
        "outcome": signal.outcome,
        "duration_ms": round(signal.duration_ms, 3),
    }
    if signal.root is not None:
        fields["caused_by"], fields["root"] = signal.caused_by, signal.root
    if signal.error is not None:
        fields["error"] = _error(signal.error)
    return fields


def _queue_fault(signal: QueueFault) -> dict[str, Any]:
    fields: dict[str, Any] = {"source": signal.source, "queue": signal.queue, "error": _error(signal.error)}
    if signal.event is not None:
        fields["event"] = signal.event
    if signal.event_id is not None:
        fields["event_id"] = signal.event_id
    if signal.attempt is not None:
        fields["attempt"] = signal.attempt
    return fields


def _redis_fault(signal: RedisFault) -> dict[str, Any]:
    return {"source": signal.source, "node": signal.node, "error": _error(signal.error)}


def _recovered(signal: RedisRecovered) -> dict[str, Any]:
    return {"node": signal.node, "outage_ms": round(signal.outage_ms, 3)}


def _started(signal: WorkerStarted) -> dict[str, Any]:
    return {"events": signal.events, "server": signal.server}


def _stopped(signal: WorkerStopped) -> dict[str, Any]:
    ids = {
        "drained": signal.drained,
        "requeued": signal.requeued,
        "cancelled": signal.cancelled,
        "stranded": signal.stranded,
        "stuck": signal.stuck,
    }
    counts = {name: len(each) for name, each in ids.items()}
    by_name = {f"{name}_ids": each for name, each in ids.items()}
    return {"events": signal.events, **counts, "unresolved": signal.unresolved, **by_name}


def _blocked(signal: LoopBlocked) -> dict[str, Any]:
    fields: dict[str, Any] = {"blocked_ms": round(signal.blocked_ms, 3), **_whose(signal.whose)}
    if signal.lock_held:
        fields["lock_held"] = True
    if signal.stack:
        fields["stack"] = signal.stack
    return fields


def _unblocked(signal: LoopUnblocked) -> dict[str, Any]:
    return {"blocked_ms": round(signal.blocked_ms, 3), **_whose(signal.whose)}


def _whose(attempt: EventAttempt | None) -> dict[str, Any]:
    if attempt is None:
        return {}
    return {"event": attempt.event, "event_id": attempt.event_id, "attempt": attempt.attempt}


def _error(error: ErrorInfo) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.stack:
        fields["stack"] = error.stack
    return fields
