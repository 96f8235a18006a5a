"""Advisory file locks (flock), which the kernel releases when the last copy of the descriptor is closed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from oxherd.servers.polling import wait_for


def try_exclusive(path: Path) -> int | None:
    """A descriptor that holds `path` exclusively, or None if it is held by another."""
    return _take(path, fcntl.LOCK_EX, seconds=0.0)


def shared(path: Path, *, seconds: float) -> int | None:
    """A descriptor that holds `path` shared, or None if it stays held exclusively for `seconds`."""
    return _take(path, fcntl.LOCK_SH, seconds=seconds)


@contextmanager
def exclusive(path: Path, *, seconds: float) -> Generator[None]:
    """Hold `path` exclusively; TimeoutError if it stays held by another for `seconds`."""
    descriptor = _take(path, fcntl.LOCK_EX, seconds=seconds)
    if descriptor is None:
        raise TimeoutError(f"{path} was held by another process for {seconds:g} s")
    try:
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, operation: int, *, seconds: float) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if wait_for(lambda: _lock(descriptor, operation), timeout=seconds, max_interval=0.01):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
