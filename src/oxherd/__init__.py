"""Event queues for Python on Redis Cluster: typed events, BullMQ's queue logic, logs that can be trusted."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oxherd.answers.status import Status, Update
    from oxherd.app import Oxherd
    from oxherd.bullmq.worker_info import Running, WorkerInfo
    from oxherd.context import Cancelled, Context, ContextFilter, LockLost, Stopping, TimedOut
    from oxherd.declaration import DeclareOptions, EventOptions
    from oxherd.emitted import Emitted
    from oxherd.errors import (
        ConfigError,
        DeclarationError,
        Discard,
        EmitError,
        EventCancelled,
        EventExpired,
        EventFailed,
        InvalidPayload,
        InvalidResult,
        NoResult,
        NotDurable,
        OxherdError,
        PayloadTooLarge,
        RedisUnavailable,
        ResultGone,
        ResultTimeout,
        ScheduleError,
        SealError,
        ServerError,
        UnknownEvent,
        UsageError,
    )
    from oxherd.event import Event
    from oxherd.payload.failure import EventError, Failure
    from oxherd.payload.keyring import Keyring
    from oxherd.policy import Keep, Retry
    from oxherd.privacy.allow import Allow
    from oxherd.privacy.masks import Mask
    from oxherd.process import Process
    from oxherd.producer.emit_options import EmitManyOptions, EmitOptions
    from oxherd.retries import RetryIn, Snooze
    from oxherd.schedule.cron import Cron
    from oxherd.schedule.every import Every
    from oxherd.worker.health import Health
    from oxherd.worker.stop_report import StopReport

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "Cancelled",
    "ConfigError",
    "Context",
    "ContextFilter",
    "Cron",
    "DeclarationError",
    "DeclareOptions",
    "Discard",
    "EmitError",
    "EmitManyOptions",
    "EmitOptions",
    "Emitted",
    "Event",
    "EventCancelled",
    "EventError",
    "EventExpired",
    "EventFailed",
    "EventOptions",
    "Every",
    "Failure",
    "Health",
    "InvalidPayload",
    "InvalidResult",
    "Keep",
    "Keyring",
    "LockLost",
    "Mask",
    "NoResult",
    "NotDurable",
    "Oxherd",
    "OxherdError",
    "PayloadTooLarge",
    "Process",
    "RedisUnavailable",
    "ResultGone",
    "ResultTimeout",
    "Retry",
    "RetryIn",
    "Running",
    "ScheduleError",
    "SealError",
    "ServerError",
    "Snooze",
    "Status",
    "StopReport",
    "Stopping",
    "TimedOut",
    "UnknownEvent",
    "Update",
    "UsageError",
    "WorkerInfo",
]

# Loaded on first use (PEP 562), so that masks, errors and the command line do not import the queue.
_HOMES = {
    "Allow": "privacy.allow",
    "Cancelled": "context",
    "ConfigError": "errors",
    "Context": "context",
    "ContextFilter": "context",
    "Cron": "schedule.cron",
    "DeclarationError": "errors",
    "DeclareOptions": "declaration",
    "Discard": "errors",
    "EmitError": "errors",
    "EmitManyOptions": "producer.emit_options",
    "EmitOptions": "producer.emit_options",
    "Emitted": "emitted",
    "Event": "event",
    "EventCancelled": "errors",
    "EventError": "payload.failure",
    "EventExpired": "errors",
    "EventFailed": "errors",
    "EventOptions": "declaration",
    "Every": "schedule.every",
    "Failure": "payload.failure",
    "Health": "worker.health",
    "InvalidPayload": "errors",
    "InvalidResult": "errors",
    "Keep": "policy",
    "Keyring": "payload.keyring",
    "LockLost": "context",
    "Mask": "privacy.masks",
    "NoResult": "errors",
    "NotDurable": "errors",
    "Oxherd": "app",
    "OxherdError": "errors",
    "PayloadTooLarge": "errors",
    "Process": "process",
    "RedisUnavailable": "errors",
    "ResultGone": "errors",
    "ResultTimeout": "errors",
    "Retry": "policy",
    "RetryIn": "retries",
    "Running": "bullmq.worker_info",
    "ScheduleError": "errors",
    "SealError": "errors",
    "ServerError": "errors",
    "Snooze": "retries",
    "Status": "answers.status",
    "StopReport": "worker.stop_report",
    "Stopping": "context",
    "TimedOut": "context",
    "UnknownEvent": "errors",
    "Update": "answers.status",
    "UsageError": "errors",
    "WorkerInfo": "bullmq.worker_info",
}


if not TYPE_CHECKING:  # to a type checker, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
