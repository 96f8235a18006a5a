"""The clock whose time is sent to scripts."""

from __future__ import annotations

import time

LATEST_MS = 253_402_300_799_000  # the end of the year 9999, the latest that datetime represents


def now_ms() -> int:
    """This machine's clock, in milliseconds since the Unix epoch, as BullMQ's clients send it."""
    return int(time.time() * 1000)


def bounded_ms(number: float) -> int:
    """A time that any program may have written, in milliseconds since the Unix epoch; 0 for one before it."""
    return int(min(max(number, 0), LATEST_MS))
