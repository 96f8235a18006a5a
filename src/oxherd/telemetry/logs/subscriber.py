"""Makes log records of signals; they go to the standard logger `oxherd`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from oxherd.signals import (
    CancelledBeforeBegin,
    EmbeddedServerJoined,
    ErrorInfo,
    EventAttempt,
    EventBegan,
    EventEnded,
    EventExpired,
    LoopBlocked,
    LoopUnblocked,
    QueueFault,
    QueuePaused,
    QueueResumed,
    RedisFault,
    RedisRecovered,
    ResultDropped,
    WorkerStarted,
    WorkerStopped,
)
from oxherd.telemetry.logs.console_formatter import ConsoleFormatter
from oxherd.telemetry.logs.straight import write_straight

logger = logging.getLogger("oxherd")
_LAST_RESORT = ConsoleFormatter(colour=False)

_OUTCOME_LEVELS = {
    "completed": logging.INFO,
    "requeued": logging.INFO,
    "retrying": logging.WARNING,
    "timed_out": logging.ERROR,
    "cancelled": logging.INFO,
    "discarded": logging.ERROR,
    "failed": logging.ERROR,
    "lost": logging.ERROR,
}


class LogSubscriber:
    """Logs each signal as one record, whose attributes are the contract's fields."""

    def __call__(self, signal: Any) -> None:
        level, message, fields = _FORMATS[type(signal)]
        if level is None:
            level = _OUTCOME_LEVELS[signal.outcome]
        # dictConfig and fileConfig disable, unless told otherwise, each logger that they do not name.
        logger.disabled = False
        if not logger.isEnabledFor(level):
            return
        if _write_straight(level, message, signal):
            return
        record = _record(level, message, fields(signal))
        if level >= logging.WARNING and not logger.hasHandlers():
            # Logging's handler of last resort shows the message alone.
            record.msg = _LAST_RESORT.format(record)
        logger.handle(record)


def _write_straight(level: int, message: str, signal: Any) -> bool:
    """Write an event's begin or end without a record, if nobody else would see one."""
    if type(signal) is EventBegan:
        return write_straight(logger, level, message, _begin_fields(signal), signal.shown.json)
    if type(signal) is EventEnded and signal.error is None and signal.retry_in_ms is None:
        return write_straight(logger, level, message, _ended(signal), None)
    return False


class _ThreadTemplates(threading.local):
    """The calling thread's template records, by level. Not kept by thread id, which a later thread may reuse."""

    def __init__(self) -> None:
        self.by_level: dict[int, dict[str, Any]] = {}


_TEMPLATES = _ThreadTemplates()
# A record names its process.
os.register_at_fork(after_in_child=lambda: _TEMPLATES.by_level.clear())


def _record(level: int, message: str, fields: dict[str, Any]) -> logging.LogRecord:
    """Copy a record from a template of its level: LogRecord's constructor would look up caller, thread and task anew,
    and be the most expensive step of all."""
    if logging.getLogRecordFactory() is not logging.LogRecord:
        record = logging.getLogRecordFactory()("oxherd", level, __file__, 0, message, None, None)
        record.__dict__.update(fields)
        return record
    templates = _TEMPLATES.by_level
    template = templates.get(level)
    if template is None:
        template = templates[level] = vars(logging.LogRecord("oxherd", level, __file__, 0, message, None, None)).copy()
        if "taskName" in template:  # from Python 3.12 on: the name of the task that is current now
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


def _begin_fields(signal: EventBegan) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": signal.event,
        "event_id": signal.event_id,
        "attempt": signal.attempt,
        "fence": signal.fence,
    }
    if signal.root is not None:
        fields["caused_by"], fields["root"] = signal.caused_by, signal.root
    return fields


def _began(signal: EventBegan) -> dict[str, Any]:
    fields = _begin_fields(signal)
    if signal.shown.json is not None:
        fields["payload"] = signal.shown.value
        fields["_payload_json"] = signal.shown.json  # saves the JSON formatter from writing it again
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
    if signal.retry_in_ms is not None:
        fields["retry_in_ms"] = signal.retry_in_ms
    if signal.root is not None:
        fields["caused_by"], fields["root"] = signal.caused_by, signal.root
    if signal.error is not None:
        fields["error"] = _error(signal.error)
    return fields


def _expired(signal: EventExpired) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": signal.event, "event_id": signal.event_id, "late_ms": signal.late_ms}
    if signal.root is not None:
        fields["caused_by"], fields["root"] = signal.caused_by, signal.root
    return fields


def _result_dropped(signal: ResultDropped) -> dict[str, Any]:
    error = {"type": "ResultError", "message": f"{signal.why}; it is not stored"}
    return {"event": signal.event, "event_id": signal.event_id, "attempt": signal.attempt, "error": error}


def _queue_fault(signal: QueueFault) -> dict[str, Any]:
    event = {"event": signal.event, "event_id": signal.event_id, "attempt": signal.attempt}
    known = {name: value for name, value in event.items() if value is not None}
    return {"source": signal.source, "queue": signal.queue, "error": _error(signal.error), **known}


def _redis_fault(signal: RedisFault) -> dict[str, Any]:
    return {"source": signal.source, "node": signal.node, "error": _error(signal.error)}


def _redis_recovered(signal: RedisRecovered) -> dict[str, Any]:
    return {"node": signal.node, "outage_ms": round(signal.outage_ms, 3)}


def _worker_started(signal: WorkerStarted) -> dict[str, Any]:
    without = {"without_handler": signal.without_handler} if signal.without_handler else {}
    return {"events": signal.events, "server": signal.server, **without}


def _worker_stopped(signal: WorkerStopped) -> dict[str, Any]:
    counts = {name: len(ids) for name, ids in signal.ids.items()}
    ids = {f"{name}_ids": ids for name, ids in signal.ids.items()}
    return {"events": signal.events, **counts, "unresolved": signal.unresolved, **ids}


def _loop_blocked(signal: LoopBlocked) -> dict[str, Any]:
    fields = _blocked(signal.blocked_ms, signal.whose)
    if signal.lock_held:
        fields["lock_held"] = True
    if signal.stack:
        fields["stack"] = signal.stack
    return fields


def _loop_unblocked(signal: LoopUnblocked) -> dict[str, Any]:
    return _blocked(signal.blocked_ms, signal.whose)


def _blocked(blocked_ms: float, whose: EventAttempt | None) -> dict[str, Any]:
    return {"blocked_ms": round(blocked_ms, 3), **({} if whose is None else asdict(whose))}


def _error(error: ErrorInfo) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.stack:
        fields["stack"] = error.stack
    return fields


# By signal: its level (None: by its outcome), its message, and what makes its fields.
_FORMATS: dict[type[Any], tuple[int | None, str, Callable[[Any], dict[str, Any]]]] = {
    EventBegan: (logging.INFO, "event.begin", _began),
    EventEnded: (None, "event.end", _ended),
    CancelledBeforeBegin: (logging.INFO, "event.cancelled", asdict),
    EventExpired: (logging.WARNING, "event.expired", _expired),
    ResultDropped: (logging.WARNING, "result.dropped", _result_dropped),
    QueueFault: (logging.ERROR, "queue.error", _queue_fault),
    RedisFault: (logging.ERROR, "redis.error", _redis_fault),
    RedisRecovered: (logging.WARNING, "redis.recovered", _redis_recovered),
    EmbeddedServerJoined: (logging.INFO, "redis.embedded", asdict),
    WorkerStarted: (logging.INFO, "worker.start", _worker_started),
    WorkerStopped: (logging.INFO, "worker.stop", _worker_stopped),
    QueuePaused: (logging.WARNING, "worker.paused", asdict),
    QueueResumed: (logging.INFO, "worker.resumed", asdict),
    LoopBlocked: (logging.WARNING, "worker.blocked", _loop_blocked),
    LoopUnblocked: (logging.WARNING, "worker.unblocked", _loop_unblocked),
}
