"""Waiting, with a deadline, for what is told only when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from oxherd.errors import ServerError


def holds(condition: Callable[[], bool], *, seconds: float, longest: float = 0.05) -> bool:
    """Whether `condition` comes to hold within `seconds`; asked ever more rarely, up to `longest` seconds apart."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, longest)
    return True


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return when `condition` holds; a ServerError that names `what` after `seconds`."""
    if not holds(condition, seconds=seconds):
        raise ServerError(f"After {seconds:g} s there is still no sign that {what}: see the servers' logs.")
