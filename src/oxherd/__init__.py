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
        HandlerRaised,
        InvalidPayload,
        InvalidResult,
        LifespanError,
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
    from oxherd.limits import Limits, PerKey, Rate
    from oxherd.payload.failure import EventError, Failure
    from oxherd.payload.keyring import Keyring
    from oxherd.policy import Keep, Retry
    from oxherd.privacy.allow import Allow
    from oxherd.privacy.masks import Mask
    from oxherd.process import Process
    from oxherd.producer.emit_options import EmitManyOptions, EmitOptions
    from oxherd.resources.declared import CallNext
    from oxherd.resources.dependency import Depends
    from oxherd.resources.sync_middleware import SyncCallNext
    from oxherd.retries import RateLimited, RetryIn, Snooze
    from oxherd.schedule.cron import Cron
    from oxherd.schedule.declared import Schedule
    from oxherd.schedule.every import Every
    from oxherd.schedule.info import ScheduleInfo
    from oxherd.uniqueness import Debounce, Unique
    from oxherd.worker.health import Health
    from oxherd.worker.stop_report import StopReport

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "CallNext",
    "Cancelled",
    "ConfigError",
    "Context",
    "ContextFilter",
    "Cron",
    "Debounce",
    "DeclarationError",
    "DeclareOptions",
    "Depends",
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
    "HandlerRaised",
    "Health",
    "InvalidPayload",
    "InvalidResult",
    "Keep",
    "Keyring",
    "LifespanError",
    "Limits",
    "LockLost",
    "Mask",
    "NoResult",
    "NotDurable",
    "Oxherd",
    "OxherdError",
    "PayloadTooLarge",
    "PerKey",
    "Process",
    "Rate",
    "RateLimited",
    "RedisUnavailable",
    "ResultGone",
    "ResultTimeout",
    "Retry",
    "RetryIn",
    "Running",
    "Schedule",
    "ScheduleError",
    "ScheduleInfo",
    "SealError",
    "ServerError",
    "Snooze",
    "Status",
    "StopReport",
    "Stopping",
    "SyncCallNext",
    "TimedOut",
    "Unique",
    "UnknownEvent",
    "Update",
    "UsageError",
    "WorkerInfo",
]

# Loaded on first use (PEP 562), so that masks, errors and the command line do not import the queue.
_HOMES = {
    "Allow": "privacy.allow",
    "CallNext": "resources.declared",
    "Cancelled": "context",
    "ConfigError": "errors",
    "Context": "context",
    "ContextFilter": "context",
    "Cron": "schedule.cron",
    "Debounce": "uniqueness",
    "DeclarationError": "errors",
    "DeclareOptions": "declaration",
    "Depends": "resources.dependency",
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
    "HandlerRaised": "errors",
    "Health": "worker.health",
    "InvalidPayload": "errors",
    "InvalidResult": "errors",
    "Keep": "policy",
    "Keyring": "payload.keyring",
    "LifespanError": "errors",
    "Limits": "limits",
    "LockLost": "context",
    "Mask": "privacy.masks",
    "NoResult": "errors",
    "NotDurable": "errors",
    "Oxherd": "app",
    "OxherdError": "errors",
    "PayloadTooLarge": "errors",
    "PerKey": "limits",
    "Process": "process",
    "Rate": "limits",
    "RateLimited": "retries",
    "RedisUnavailable": "errors",
    "ResultGone": "errors",
    "ResultTimeout": "errors",
    "Retry": "policy",
    "RetryIn": "retries",
    "Running": "bullmq.worker_info",
    "Schedule": "schedule.declared",
    "ScheduleError": "errors",
    "ScheduleInfo": "schedule.info",
    "SealError": "errors",
    "ServerError": "errors",
    "Snooze": "retries",
    "Status": "answers.status",
    "StopReport": "worker.stop_report",
    "Stopping": "context",
    "SyncCallNext": "resources.sync_middleware",
    "TimedOut": "context",
    "Unique": "uniqueness",
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
