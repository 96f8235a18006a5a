"""Event queues for Python on Redis Cluster: typed events, BullMQ's queue logic, logs that can be trusted."""

from oxherd.allow import Allow
from oxherd.app import Oxherd
from oxherd.context import Cancelled, Context, ContextFilter, LockLost, Stopping, TimedOut
from oxherd.errors import (
    ConfigError,
    DeclarationError,
    Discard,
    EmitError,
    InvalidPayload,
    NotDurable,
    OxherdError,
    PayloadTooLarge,
    RedisUnavailable,
    ScheduleError,
    SealError,
    ServerError,
    UnknownEvent,
    UsageError,
)
from oxherd.event import Emitted, Event
from oxherd.keyring import Keyring
from oxherd.masks import Mask
from oxherd.policy import Keep, Retry
from oxherd.schedule.cron import Cron, Every
from oxherd.worker.health import Health
from oxherd.worker.stopped import StopReport

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "Cancelled",
    "ConfigError",
    "Context",
    "ContextFilter",
    "Cron",
    "DeclarationError",
    "Discard",
    "EmitError",
    "Emitted",
    "Event",
    "Every",
    "Health",
    "InvalidPayload",
    "Keep",
    "Keyring",
    "LockLost",
    "Mask",
    "NotDurable",
    "Oxherd",
    "OxherdError",
    "PayloadTooLarge",
    "RedisUnavailable",
    "Retry",
    "ScheduleError",
    "SealError",
    "ServerError",
    "StopReport",
    "Stopping",
    "TimedOut",
    "UnknownEvent",
    "UsageError",
]
