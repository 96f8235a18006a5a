"""Waiting for a condition by polling, with a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable

from oxherd.errors import ServerError


def wait_for(condition: Callable[[], bool], *, timeout: float, max_interval: float = 0.05) -> bool:
    """Whether `condition` becomes true within `timeout` seconds; polls at growing intervals up to `max_interval`."""
    deadline = time.monotonic() + timeout
    interval = 0.0005
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
        interval = min(interval * 1.5, max_interval)
    return True


def wait_until(condition: Callable[[], bool], *, timeout: float, what: str) -> None:
    """Return when `condition` is true; ServerError, which names `what`, after `timeout` seconds."""
    if not wait_for(condition, timeout=timeout):
        raise ServerError(f"Timed out after {timeout:g} s waiting until {what}: see the servers' logs.")
