"""Keeps a silent server from holding the slots that queues on other servers need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oxherd.worker.background_loop import BackgroundLoop

_SILENCE_SECONDS = 0.5


class SlotReclaimer(BackgroundLoop):
    """Tells `reclaim`, twice a second, to lend out what has waited for Redis for that long."""

    def __init__(self, queue: str, reclaim: Callable[[float], None]) -> None:
        super().__init__(f"oxherd-reclaim-{queue}")
        self._reclaim = reclaim

    async def run(self) -> None:
        """Reclaim until cancelled."""
        while True:
            await asyncio.sleep(_SILENCE_SECONDS)
            self._reclaim(_SILENCE_SECONDS)
