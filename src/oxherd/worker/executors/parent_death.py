"""Lets a process end when its parent dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_CHECK_SECONDS = 1.0


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Get the signal `number` when the parent process, of pid `parent`, dies; at once if it is dead already."""
    if not (sys.platform == "linux" and _ask_kernel(number)):
        threading.Thread(target=_poll, args=(parent, number), name="oxherd-parent-death", daemon=True).start()
    if os.getppid() != parent:
        # It died before the request was in place.
        os.kill(os.getpid(), number)


def _ask_kernel(number: signal.Signals) -> bool:
    try:
        import ctypes  # a Python that was built without libffi has none
    except ImportError:
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0


def _poll(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_CHECK_SECONDS)
    os.kill(os.getpid(), number)
