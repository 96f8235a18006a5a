"""An event's pauses: nothing of it, or of one of its keys, begins meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol
from uuid import UUID

from oxherd.declaration import Declaration, key_bytes
from oxherd.errors import UsageError
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.pausing import set_key_paused, set_paused

Key = str | int | UUID | bytes


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

    async def pause(self, *, key: Key | None = None) -> None:
        """Begin no more of this event, in any process, until `resume`. What runs goes on, emits as well.

        `key`: only what has that key, as the event's key function returns it; Node's workers take no notice of that.
        Changes nothing where it is paused already. A test kit that keeps the emits ignores it.

        Raises:
            UsageError: several events of the herd share its queue; or there is a key, and the event has no `per_key`.
            RedisUnavailable: a queue could not be reached within the herd's `emit_timeout`; with shards it may be
                paused in part. Another call finishes it.
            OxherdError: a key of a queue is damaged.

        Script: pause, in each shard; command: ZSCORE. Of a key: pause_key, in its shard.
        """
        await self._set_paused(True, key)

    async def resume(self, *, key: Key | None = None) -> None:
        """Let a paused event, or key, begin again, at once; changes nothing where it is not paused. Raises as `pause`.

        A key that was paused by itself stays so when its event is resumed.
        """
        await self._set_paused(False, key)

    def pause_sync(self, *, key: Key | None = None) -> None:
        """`pause` from code without an event loop. Raises UsageError where one runs in this thread."""
        self.herd.run_sync(self.pause(key=key))

    def resume_sync(self, *, key: Key | None = None) -> None:
        """`resume` from code without an event loop."""
        self.herd.run_sync(self.resume(key=key))

    async def _set_paused(self, paused: bool, key: Key | None) -> None:
        declaration, herd = self.declaration, self.herd
        if key is not None:
            known = self._checked_key(key, "pause" if paused else "resume")
            if herd.delivery is None:
                await set_key_paused(await herd.backend(), declaration, known, paused, timeout=herd.emit_timeout)
            return
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

    def _checked_key(self, key: Any, call: str) -> bytes:
        name, known = self.declaration.name, key_bytes(key)
        if self.declaration.limits.per_key is None:
            raise UsageError(f"{name}: {call}(key=...) needs per_key=PerKey(...) at the declaration.")
        if known is None:
            raise UsageError(f"{name}: {call}(key=...) takes what its key function returns: a str, int, UUID or bytes.")
        return known
