"""How a worker tells its supervisor that it has processed enough, and drains: one byte on a pipe."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_VARIABLE = "OXHERD_SUPERVISOR_RETIREMENT"


@dataclass(frozen=True, slots=True)
class Retirement:
    """In a worker: after how many events it retires, and how it says so."""

    max_events: int
    announce: Callable[[], None]


def retirement() -> Retirement | None:
    """What the supervisor asks of this worker; None where it asks nothing."""
    # Removed from the environment, as all that is for this process alone.
    asked = os.environ.pop(_VARIABLE, None)
    if asked is None:
        return None
    descriptor, max_events = map(int, asked.split())
    os.set_inheritable(descriptor, False)

    def announce() -> None:
        with suppress(OSError):  # the supervisor has ended, and so will this worker
            os.write(descriptor, b"\n")

    return Retirement(max_events, announce)


class RetirementNotice:
    """The supervisor's end of a worker's pipe; `announced` is set once the worker drains."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        self.announced = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._read)

    @property
    def worker_end(self) -> int:
        """The descriptor to pass to the worker."""
        return self._theirs

    def environment(self, max_events: int) -> dict[str, str]:
        """What the worker finds in its environment."""
        return {_VARIABLE: f"{self._theirs} {max_events}"}

    def passed(self) -> None:
        """The worker has its end, or could not be started."""
        os.close(self._theirs)

    def close(self) -> None:
        """Wait no more; may be called again."""
        if self._ours >= 0:
            self._loop.remove_reader(self._ours)
            os.close(self._ours)
            self._ours = -1

    def _read(self) -> None:
        if os.read(self._ours, 1):
            self.announced.set()
        self.close()
