"""What ends in one turn of the event loop, handled in the next: in a loop of its own it takes a third of what it does
in the midst of each event, whose code and data it would push out of the processor's caches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


def call_each(call: Callable[[T], object], each: Iterable[T], on_error: Callable[[BaseException], None]) -> None:
    """Call it with one after the other; `on_error` is told what it raises, which keeps it from none of the others."""
    for one in each:
        try:
            call(one)
        except Exception as error:  # noqa: BLE001 - of the user's own processors and views
            on_error(error)


class Together(Generic[T]):
    """Calls `handle` in the loop's next turn with all that has been added by then, in order; it never raises.

    All is added in the thread of one loop at a time.
    """

    def __init__(self, handle: Callable[[list[T]], None]) -> None:
        self._handle = handle
        self._waiting: list[T] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, one: T) -> None:
        """Have it handled in the next turn; what a loop that has ended left over, in that of the next loop."""
        loop = asyncio.get_running_loop()
        self._waiting.append(one)
        if len(self._waiting) == 1 or loop is not self._loop:
            self._loop = loop
            # Not in the context of the event that happens to be the first.
            loop.call_soon(self._hand_over, context=Context())

    def _hand_over(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._handle(waiting)
