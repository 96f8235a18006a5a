"""Waiting, with a deadline, for what a server tells only when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from oxherd.errors import ServerError


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return when `condition` holds; a ServerError that names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"After {seconds:g} s there is still no sign that {what}: see the servers' logs.")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.05)
