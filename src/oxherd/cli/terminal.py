"""Output and signal handling of commands that print for people and start servers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from rich.console import Console

T = TypeVar("T")


def make_console() -> Console:
    """A console on standard output, 140 characters wide where that is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that servers are stopped on the way out, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, _exit)


def run_interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; SIGINT and SIGTERM cancel it, and raise once its loop is closed.

    An exception raised by a signal inside the event loop's own code would leave the loop inconsistent.
    """
    received: list[int] = []
    tasks: list[asyncio.Task[T]] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        for task in tasks:
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def main() -> T:
        tasks.append(asyncio.ensure_future(coroutine))
        if received:
            tasks[0].cancel()
        return await tasks[0]

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not received:
            raise
        if received[0] == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
