"""What commands that print for people, and start servers meanwhile, have in common."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from rich.console import Console

T = TypeVar("T")


def make_console() -> Console:
    """Standard output; wide where it is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def exit_on_sigterm() -> None:
    """Let SIGTERM raise, as Ctrl-C does: what was started is ended on the way out."""
    signal.signal(signal.SIGTERM, _interrupted)


def run_interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; SIGINT and SIGTERM cancel the coroutine, and are raised once its loop is closed.

    A signal that raises in the midst of the event loop's own code leaves it half done.
    """
    told: list[int] = []
    tasks: list[asyncio.Task[T]] = []

    def note(number: int, _: object) -> None:
        told.append(number)
        for task in tasks:
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def main() -> T:
        tasks.append(asyncio.ensure_future(coroutine))
        if told:
            tasks[0].cancel()
        return await tasks[0]

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not told:
            raise
        if told[0] == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
