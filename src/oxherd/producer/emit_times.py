"""When an emit's event may begin, and until when: `delay=`, `at=` and `expires=`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from oxherd.bullmq.clock import now_ms
from oxherd.declaration import Declaration, expires_to_ms
from oxherd.errors import UsageError
from oxherd.policy import MAX_SECONDS, Seconds, seconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Times(NamedTuple):
    """An emit's delay, the moment that was given for it (else 0), and BullMQ's options, which say when it expires."""

    delay_ms: int
    due_ms: int
    options: dict[str, Any]


def times_of(declaration: Declaration, delay: Seconds | None, at: datetime | None, expires: Seconds | None) -> Times:
    """Validate an emit's times.

    Raises:
        UsageError: one of them is invalid, or two of them contradict each other.
    """
    name, due_ms = declaration.name, 0
    if delay is not None and at is not None:
        raise UsageError(f"{name}: delay and at both say when the event is due; give one of them.")
    if isinstance(delay, datetime):
        raise UsageError(f"{name}: delay is a duration, not a moment: give the moment as at=.")
    if at is not None:
        due_ms = _moment_ms(name, at)
        delay_ms = max(0, due_ms - now_ms())
        if delay_ms > MAX_SECONDS * 1000:
            raise UsageError(f"{name}: at must be within a century from now.")
    else:
        delay_ms = 0 if delay is None else round(seconds(delay, f"{name}: delay") * 1000)
    expires_ms = declaration.expires_ms if expires is None else expires_to_ms(name, expires)
    if 0 < expires_ms <= delay_ms:
        raise UsageError(
            f"{name}: it would expire {expires_ms / 1000:g} s after its emit, before it is due; "
            "give a shorter delay or an earlier at, or expires=, where 0 means never."
        )
    return Times(delay_ms, due_ms, declaration.options_expiring(expires_ms))


def _moment_ms(name: str, at: datetime) -> int:
    """A moment in milliseconds since the Unix epoch, rounded up: an event is never early."""
    if not isinstance(at, datetime) or at.utcoffset() is None:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"{name}: at must be a datetime with a time zone, such as "
            'datetime(2030, 1, 31, 9, 0, tzinfo=ZoneInfo("Europe/Paris")) or datetime.now(UTC) + timedelta(hours=1).'
        )
    return -((_EPOCH - at) // _MS)
