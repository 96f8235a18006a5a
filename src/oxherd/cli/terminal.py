"""What commands that print for people, and start servers meanwhile, have in common."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from rich.console import Console


def make_console() -> Console:
    """Standard output; wide where it is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def exit_on_sigterm() -> None:
    """Let SIGTERM raise, as Ctrl-C does: what was started is ended on the way out."""
    signal.signal(signal.SIGTERM, _interrupted)


def _interrupted(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
