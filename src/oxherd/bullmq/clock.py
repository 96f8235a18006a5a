"""The clock whose time is sent to scripts."""

from __future__ import annotations

import time


def now_ms() -> int:
    """This machine's clock, in milliseconds since the Unix epoch, as BullMQ's clients send it."""
    return int(time.time() * 1000)
