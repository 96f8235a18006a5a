"""The clock that scripts are told."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since the Unix epoch, by this machine's clock, as BullMQ's clients send it."""
    return int(time.time() * 1000)
