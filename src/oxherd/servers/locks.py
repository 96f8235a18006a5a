"""Advisory file locks (flock): the kernel releases them when the last copy of a descriptor is closed, by any death."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from oxherd.servers.polling import holds


def try_exclusive(path: Path) -> int | None:
    """A descriptor that holds `path` exclusively, or None while somebody else holds it."""
    return _take(path, fcntl.LOCK_EX, seconds=0.0)


def shared(path: Path, *, seconds: float) -> int | None:
    """A descriptor that holds `path` shared, or None if it was held exclusively for all of `seconds`."""
    return _take(path, fcntl.LOCK_SH, seconds=seconds)


@contextmanager
def exclusive(path: Path, *, seconds: float) -> Generator[None]:
    """Hold `path` exclusively; a TimeoutError if somebody else held it for all of `seconds`."""
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
        if holds(lambda: _lock(descriptor, operation), seconds=seconds, longest=0.01):
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
