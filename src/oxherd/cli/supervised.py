"""What binds a worker to the supervisor that has started it."""

from __future__ import annotations

import os
import signal

from oxherd.worker.orphan import end_with_parent

_SUPERVISOR = "OXHERD_SUPERVISOR"


def environment() -> dict[str, str]:
    """The environment of a worker that this process supervises."""
    return os.environ | {_SUPERVISOR: str(os.getpid())}


def follow_supervisor() -> None:
    """Where this worker has a supervisor: drain and end when that ends, however it does."""
    # Taken out: what a handler starts is not supervised.
    supervisor = os.environ.pop(_SUPERVISOR, None)
    if supervisor is not None:
        end_with_parent(int(supervisor), signal.SIGTERM)
