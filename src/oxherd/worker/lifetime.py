"""How many events a worker process lives for."""

from __future__ import annotations

import random
from collections.abc import Callable

from oxherd.signals import EventEnded, Signals


class Lifetime:
    """Counts the runs that end in this process, and calls `over` once there were `most`, or up to a tenth more.

    How many more is left to chance: processes that began together are not replaced together.
    """

    def __init__(self, signals: Signals, most: int, over: Callable[[], None]) -> None:
        self.most = most + random.randint(0, most // 10)  # noqa: S311 - spreads ends, keeps no secret
        self._signals = signals
        self._over = over
        self._ended = 0
        signals.subscribe(self._count, EventEnded)

    def _count(self, _: EventEnded) -> None:
        self._ended += 1
        if self._ended == self.most:
            self._over()

    def close(self) -> None:
        """Count no more."""
        self._signals.unsubscribe(self._count)
