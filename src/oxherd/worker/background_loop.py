"""The start/stop contract of a worker's loops."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class BackgroundLoop(ABC):
    """A loop that runs as a task between `start` and `stop`; subclasses implement `run`."""

    _task: asyncio.Task[None]

    def __init__(self, name: str) -> None:
        self._name = name

    @abstractmethod
    async def run(self) -> None:
        """Loop until cancelled."""

    def start(self) -> None:
        """Run in a new task of the running event loop; again after a crash."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name=self._name)

    async def stop(self, timeout: float | None = None) -> None:
        """Cancel the task and wait for its end, `timeout` seconds at most."""
        self._task.cancel()
        await self.join(timeout)

    async def join(self, timeout: float | None = None) -> None:
        """Wait for the task's end, `timeout` seconds at most, without cancelling it."""
        await asyncio.wait([self._task], timeout=timeout)

    @property
    def crash(self) -> str | None:
        """The type of the error that ended the loop unasked; None while it runs."""
        if not self._task.done():
            return None
        error = None if self._task.cancelled() else self._task.exception()
        return "CancelledError" if error is None else type(error).__name__
