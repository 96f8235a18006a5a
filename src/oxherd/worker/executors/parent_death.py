"""A process that ends when the one that started it does."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Get `number` when the process `parent`, which started this one, ends; at once if it has ended already."""
    if not (sys.platform == "linux" and _ask_kernel(number)):
        threading.Thread(target=_look, args=(parent, number), name="oxherd-orphan", daemon=True).start()
    if os.getppid() != parent:
        # It ended before the request was in place.
        os.kill(os.getpid(), number)


def _ask_kernel(number: signal.Signals) -> bool:
    try:
        import ctypes  # a Python that was built without libffi has none
    except ImportError:
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0


def _look(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), number)
