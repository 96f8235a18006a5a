"""Every error of ours, in one tree.

    OxherdError
    ├── UsageError            the caller must change something (the command line ends with status 2)
    │   ├── DeclarationError  an event, a policy or a schedule that cannot be: also a ValueError
    │   │   └── ScheduleError     a cron expression or a time zone that is not one
    │   ├── UnknownEvent      no event of that name is declared
    │   ├── InvalidPayload    the payload does not fit the event's type
    │   │   └── SealError         what is sealed of it does not open here
    │   ├── PayloadTooLarge   the payload is over the event's limit
    │   └── ConfigError       a URL, module or option that cannot be used
    ├── EmitError             the queue did not acknowledge an event
    │   └── NotDurable        the replicas, or the disk, did not confirm a durable one
    ├── RedisUnavailable      the server could not be reached, or does not serve us
    ├── ServerError           the embedded server or the local cluster could not be started
    └── Discard               raised by a handler: this event fails now, without another attempt

A message is one sentence with the remedy. None holds a payload, a password or a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal


class OxherdError(Exception):
    """The root of every error that oxherd raises."""


class UsageError(OxherdError):
    """Something that the caller passed or declared must change."""


class DeclarationError(UsageError, ValueError):
    """An event, a policy or a schedule was declared with a value that cannot work."""


class ScheduleError(DeclarationError):
    """A cron expression, an interval or a time zone is not one."""


class UnknownEvent(UsageError, LookupError):
    """No event of that name is declared on this herd."""


class InvalidPayload(UsageError, ValueError):
    """A payload does not fit its event's type; the message names the fields and shows no value."""


class SealError(InvalidPayload):
    """What is sealed of a payload does not open: its key is missing or another one, or the text is damaged or moved."""


class PayloadTooLarge(UsageError, ValueError):
    """A payload's JSON is over its event's `max_payload` bytes."""


class ConfigError(UsageError, ValueError):
    """A URL, a module or an option cannot be used as it is written."""


class EmitError(OxherdError):
    """The queue did not acknowledge an event within the deadline.

    `emitted` lists what was acknowledged before (`emit_many`), in order.
    `maybe_stored` is True when the server may have stored the event although its answer did not arrive: emitting
    again with the same `id` is then safe while the first is stored.
    """

    def __init__(self, message: str, *, emitted: Sequence[Any] = (), maybe_stored: bool = False) -> None:
        super().__init__(message)
        self.emitted = list(emitted)
        self.maybe_stored = maybe_stored


class NotDurable(EmitError):
    """A durable event was not confirmed within the deadline, or the server has nothing that could confirm it.

    `missing` is who did not: `replicas` or `disk`; `replicas` are how many confirmed it and how many were asked,
    (0, 0) where the disk was. With `maybe_stored` the primary has it, or may have: it may be processed, and be lost
    with that server. Emitting again with the same `id` asks for the confirmation again.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: Literal["replicas", "disk"],
        replicas: tuple[int, int] = (0, 0),
        emitted: Sequence[Any] = (),
        maybe_stored: bool = False,
    ) -> None:
        super().__init__(message, emitted=emitted, maybe_stored=maybe_stored)
        self.missing: Literal["replicas", "disk"] = missing
        self.replicas = replicas


class RedisUnavailable(OxherdError):
    """The server could not be reached, refused us, or went away before it answered.

    `source` is `connect`, `command`, `cluster` or `auth`. `maybe_applied` is True when the command may have run.
    """

    def __init__(self, message: str, *, source: str, node: str, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.source = source
        self.node = node
        self.maybe_applied = maybe_applied


class ServerError(OxherdError):
    """The embedded server or the local cluster could not be started."""


class Discard(OxherdError):
    """Raise it in a handler to send the event to failed now, without another attempt."""
