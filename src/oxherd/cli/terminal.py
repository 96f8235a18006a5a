"""Output and signal handling of commands that print for people and start servers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from rich.console import Console

T = TypeVar("T")


def make_console() -> Console:
    """A console on standard output, 140 characters wide where that is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


class Interrupts:
    """Notes SIGINT and SIGTERM for the rest of the process, and ends what is interrupted in order.

    Nothing is raised where the signal happens to arrive: a server that starts or stops is not left half-way, nor is an
    event loop.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._task: asyncio.Task[Any] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; a signal cancels it, and is raised once its loop is closed, as by `check`."""

        async def main() -> T:
            task = self._task = asyncio.ensure_future(coroutine)
            if self._received:
                task.cancel()
            return await task

        try:
            return asyncio.run(main())
        finally:
            self._task = None
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt after a SIGINT, SystemExit after a SIGTERM."""
        if self._received:
            raise KeyboardInterrupt if self._received[0] == signal.SIGINT else SystemExit(128 + signal.SIGTERM)

    def _receive(self, number: int, _: object) -> None:
        self._received.append(number)
        if self._task is not None and not self._task.done():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
