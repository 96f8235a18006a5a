"""What ends in one turn of the event loop, handled in the next: in a loop of its own it takes a third of what it does
in the midst of each event, whose code and data it would push out of the processor's caches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Calls `each` with whatever is added, in order, from the loop's next turn; `on_error` is told what it raises.

    All is added in the thread of one loop at a time.
    """

    def __init__(self, each: Callable[[T], object], on_error: Callable[[BaseException], None]) -> None:
        self._each = each
        self._on_error = on_error
        self._waiting: list[T] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, one: T) -> None:
        """Have it handled in the next turn; what a loop that has ended left over, in that of the next loop."""
        loop = asyncio.get_running_loop()
        self._waiting.append(one)
        if len(self._waiting) == 1 or loop is not self._loop:
            self._loop = loop
            # Not in the context of the event that happens to be the first.
            loop.call_soon(self._handle, context=Context())

    def _handle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            try:
                self._each(one)
            except Exception as error:  # noqa: BLE001 - of the user's own processors and views
                self._on_error(error)
