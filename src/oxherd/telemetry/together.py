"""What ends in one turn of the event loop, handled in the next: in a loop of its own it takes a third of what it does
in the midst of each event, whose code and data it would push out of the processor's caches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_MOST: Final = 512
_NO_CONTEXT: Final = Context()


class Together(Generic[T]):
    """Calls `each` with whatever is added, in order, from the loop's next turn; `on_error` is told what it raises.

    All is added in the thread of one loop at a time.
    """

    def __init__(self, each: Callable[[T], object], on_error: Callable[[BaseException], None]) -> None:
        self._each = each
        self._on_error = on_error
        self.waiting: list[T] = []

    def add(self, one: T) -> None:
        """Have it handled in the next turn."""
        self.waiting.append(one)
        if len(self.waiting) == 1:
            # Not in the context of the event that happens to be the first.
            asyncio.get_running_loop().call_soon(self._handle, context=_NO_CONTEXT)
        elif len(self.waiting) >= _MOST:  # also where a loop has ended before its next turn
            self._handle()

    def _handle(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            try:
                self._each(one)
            except Exception as error:  # noqa: BLE001 - of the user's own processors and views
                self._on_error(error)
