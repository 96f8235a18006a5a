"""oxherd's errors.

    OxherdError
    ├── UsageError            the caller must change something (exit status 2)
    │   ├── DeclarationError  an event, policy or schedule is declared with an invalid value
    │   │   └── ScheduleError     an invalid cron expression, interval or time zone
    │   ├── UnknownEvent      no event of that name is declared
    │   ├── InvalidPayload    the payload does not fit the event's type
    │   │   └── SealError         a sealed payload does not open
    │   ├── PayloadTooLarge   the payload is over the event's limit
    │   └── ConfigError       an unusable URL, module or option
    ├── EmitError             the queue did not acknowledge an event
    │   └── NotDurable        replicas or disk did not confirm a durable event
    ├── NoResult              an event has no result, or none that can be read
    │   ├── EventFailed       it failed, timed out or was discarded
    │   │   └── EventExpired  it was not begun in time, and dropped
    │   ├── EventCancelled    it was cancelled
    │   ├── ResultTimeout     it has not ended yet
    │   ├── ResultGone        nothing is stored of it any more
    │   └── InvalidResult     its result does not fit the type that is asked for
    ├── RedisUnavailable      the server could not be reached, or refused to serve
    ├── ServerError           the embedded server or local cluster could not be started
    ├── LifespanError         a worker_lifespan failed to open, so the worker does not begin
    ├── HandlerRaised         for middleware: what a handler in a process of its own raised
    ├── Discard               raised by a handler to fail its event without a retry
    ├── RetryIn               raised by a handler to be tried again after a time of its own (retries.py)
    ├── Snooze                the same, without spending an attempt (retries.py)
    └── RateLimited           the same, and its event or key rests meanwhile (retries.py)

A message is one sentence that says what to do. None holds a payload, a password or a token.
"""

from __future__ import annotations

import difflib
import signal
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Literal


class OxherdError(Exception):
    """The base of every error that oxherd raises."""


class UsageError(OxherdError):
    """The caller passed or declared something that cannot be used."""


class DeclarationError(UsageError, ValueError):
    """An event, a policy or a schedule was declared with an invalid value."""


class ScheduleError(DeclarationError):
    """A cron expression, an interval or a time zone is invalid."""


class UnknownEvent(UsageError, LookupError):
    """No event of that name is declared on this herd."""


class InvalidPayload(UsageError, ValueError):
    """A payload does not fit its event's type; the message names the fields and shows no value."""


class SealError(InvalidPayload):
    """A sealed payload does not open: its key is missing or another one, or the text was changed or moved."""


class PayloadTooLarge(UsageError, ValueError):
    """A payload's JSON is over its event's `max_payload` bytes."""


class ConfigError(UsageError, ValueError):
    """A URL, a module or an option cannot be used as it is written."""


class EmitError(OxherdError):
    """The queue did not acknowledge an event within the deadline.

    Attributes:
        emitted: the events that were acknowledged before (`emit_many`), in order.
        maybe_stored: whether the server may have stored the event although its reply did not arrive. Emitting again
            with the same `id` makes no second event while the first is stored.
    """

    def __init__(self, message: str, *, emitted: Sequence[Any] = (), maybe_stored: bool = False) -> None:
        super().__init__(message)
        self.emitted = list(emitted)
        self.maybe_stored = maybe_stored


class NotDurable(EmitError):
    """A durable event was not confirmed within the deadline, or the server has neither replicas nor AOF to confirm it.

    With `maybe_stored` the primary has it, or may have: it may be processed, and be lost with that server. Emitting
    again with the same `id` asks for the confirmation again.

    Attributes:
        missing: `replicas` or `disk`.
        replicas: how many replicas confirmed it and how many were asked; (0, 0) where the disk was.
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


class NoResult(OxherdError):
    """The base of what `Emitted.result` raises."""


class EventFailed(NoResult):
    """The event has failed for good.

    Attributes:
        error_type: the type of what its handler raised, as text; "" where another program ended it.
        reason: its message, redacted of what the log withholds.
        outcome: the log's word: failed, timed_out, discarded or expired.
    """

    def __init__(self, message: str, *, error_type: str, reason: str, outcome: str) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.reason = reason
        self.outcome = outcome


class EventExpired(EventFailed):
    """The event was not begun before it expired, and dropped."""


class EventCancelled(NoResult):
    """The event was cancelled, for this `reason` ("" if none was given)."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ResultTimeout(NoResult, TimeoutError):
    """The event has not ended within the given time; it goes on, and may be asked for again."""


class ResultGone(NoResult, LookupError):
    """Nothing is stored of the event any more, or there never was such an event."""


class InvalidResult(NoResult, ValueError):
    """The result does not fit the type that it is asked as, or does not open; the message shows no value."""


class RedisUnavailable(OxherdError):
    """The server could not be reached, refused the connection, or went away before it replied.

    Attributes:
        source: `connect`, `command`, `cluster` or `auth`.
        node: the server's address.
        maybe_applied: whether the command may have run.
    """

    def __init__(self, message: str, *, source: str, node: str, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.source = source
        self.node = node
        self.maybe_applied = maybe_applied


class ServerError(OxherdError):
    """The embedded server or the local cluster could not be started."""


class LifespanError(OxherdError):
    """A `worker_lifespan` failed to open, so the worker does not begin; its cause is what that raised."""


class HandlerRaised(OxherdError):
    """What middleware sees of an error in a handler's own process, which only its description has left.

    Attributes:
        type: the name of the error's class.
        message: its message, with what the log withholds redacted.
    """

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - as in `event.end`
        super().__init__(f"The handler raised {type}: {message}")
        self.type = type
        self.message = message


class Discard(OxherdError):
    """Raised by a handler to fail its event now, without another attempt."""


def is_interrupt(error: BaseException) -> bool:
    """Whether it may be Python's own, for a Ctrl-C that nothing handles, and not that of the code it came through."""
    return (
        issubclass(type(error), KeyboardInterrupt)  # isinstance asks the error, whose own code may raise
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )


def did_you_mean(wanted: str, known: Iterable[str], otherwise: str, *, cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: the nearest known one, else `otherwise`."""
    near = difflib.get_close_matches(wanted, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise
