"""An event's pauses: nothing of it begins meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

from oxherd.declaration import Declaration
from oxherd.errors import UsageError
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.pausing import set_paused


class Herd(Protocol):
    """What pausing needs of an `Oxherd`."""

    delivery: Delivery | None
    emit_timeout: float

    def __iter__(self) -> Iterator[EventPausing]: ...
    async def backend(self) -> Backend: ...
    def run_sync(self, coroutine: Coroutine[Any, Any, None]) -> None: ...


class EventPausing(ABC):
    """The part of an event that pauses it and resumes it."""

    declaration: Declaration

    @property
    @abstractmethod
    def herd(self) -> Herd: ...

    async def pause(self) -> None:
        """Begin no more of this event, in any process, until `resume`. What runs goes on, emits as well.

        Changes nothing where it is paused already. A test kit that keeps the emits ignores it.

        Raises:
            UsageError: several events of the herd share its queue.
            RedisUnavailable: a queue could not be reached within the herd's `emit_timeout`; with shards it may be
                paused in part. Another call finishes it.
            OxherdError: a key of a queue is damaged.

        Script: pause, in each shard; command: ZSCORE.
        """
        await self._set_paused(True)

    async def resume(self) -> None:
        """Let a paused event begin again, at once; changes nothing where it is not paused. Raises as `pause`."""
        await self._set_paused(False)

    def pause_sync(self) -> None:
        """`pause` from code without an event loop. Raises UsageError where one runs in this thread."""
        self.herd.run_sync(self.pause())

    def resume_sync(self) -> None:
        """`resume` from code without an event loop."""
        self.herd.run_sync(self.resume())

    async def _set_paused(self, paused: bool) -> None:
        declaration, herd = self.declaration, self.herd
        sharing = [event.declaration.name for event in herd if event.declaration.queue == declaration.queue]
        if len(sharing) > 1:
            others = ", ".join(name for name in sharing if name != declaration.name)
            call = "pause" if paused else "resume"
            raise UsageError(
                f"{declaration.name}: to {call} it would {call} {others} too, which shares its queue; give it a queue "
                "of its own."
            )
        if herd.delivery is None:
            await set_paused(await herd.backend(), declaration, paused, timeout=herd.emit_timeout)
