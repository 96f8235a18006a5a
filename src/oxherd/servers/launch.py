"""Becomes a server that dies with the process that started it: `launch.py PARENT SIGNAL BINARY ARGUMENT...`.

Run by path, with the standard library alone; a script, since this is not safe after a fork in a threaded process.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for `SIGNAL` on the death of `PARENT` (Linux only; elsewhere the server outlives it), then exec."""
    parent, number, binary = int(arguments[0]), int(arguments[1]), arguments[2]
    # A server that inherits SIGTERM blocked or ignored could not be stopped by it.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)
    os.umask(0o077)
    if sys.platform == "linux":
        _die_with_parent(number)
        if os.getppid() != parent:
            # The parent died before the request was made.
            sys.exit(1)
    os.execv(binary, arguments[2:])  # noqa: S606


def _die_with_parent(number: int) -> None:
    try:
        import ctypes
    except ImportError:
        # A Python without libffi: the server outlives a killed parent, as on other systems.
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
