"""Sees to it that every queue of an event is served: its own, its shards, and those of other numbers of shards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from oxherd.declaration import Declaration
from oxherd.errors import RedisUnavailable
from oxherd.queue.clock import now_ms
from oxherd.queue.layouts import Layout, Layouts
from oxherd.queue.queue import BullQueue
from oxherd.queue.shards import shard_queues
from oxherd.redis.client import ScriptError
from oxherd.worker.faults import QueueFaults

# How often other numbers of shards are looked for, and how often while an ordered event waits for older ones to empty.
_LOOK_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.5
_SAY_SECONDS = 10.0
# A number that nobody has said for so long, and whose queues are empty, is in nobody's code any more.
_UNSAID_MS = 24 * 3600 * 1000

_BUSY = ("wait", "active", "prioritized")


class Follower:
    """One event's loop. The queues of an ordered event are served from the oldest number of shards to the newest: the
    next only once the one before was found empty, since its events were emitted later.
    """

    def __init__(
        self,
        declaration: Declaration,
        layouts: Layouts,
        faults: QueueFaults,
        *,
        queue: Callable[[str], BullQueue],
        serve: Callable[[str], None],
        retire: Callable[[str], Awaitable[None]],
    ) -> None:
        self._declaration = declaration
        self._layouts = layouts
        self._faults = faults
        self._queue = queue
        self._serve = serve
        self._retire = retire
        self._served: set[int] = set()

    def start(self) -> None:
        """Serve what needs no look: all that is known by declaration, unless it has to wait for older events."""
        if not self._declaration.ordered:
            self._serve_all(1)
            self._serve_all(self._declaration.shards)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            complete = False
            try:
                complete = await self._look()
                self._faults.mended("fetch")
            except RedisUnavailable:  # reported as an outage
                pass
            except ScriptError as error:
                self._faults.lasting("fetch", error)
            await asyncio.sleep(_LOOK_SECONDS if complete else _LOOK_AGAIN_SECONDS)

    async def _look(self) -> bool:
        """Serve what is to be served now; whether that is everything."""
        own = self._declaration.shards
        if self._declaration.says_shards:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAY_SECONDS):
                    await self._layouts.say(own)
        known = await self._layouts.known(all_copies=own > 1)
        numbers = [layout.shards for layout in known]
        # The event's own queue was never said: its events are from before it had shards.
        numbers = numbers if 1 in numbers else [1, *numbers]
        numbers = numbers if own in numbers else [*numbers, own]
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            self._serve_all(number)
            if (
                self._declaration.ordered
                and following not in (None, *self._served)
                and await self._holds(number, _BUSY)
            ):
                return False
        for layout in known:
            if layout.shards not in (1, own) and now_ms() - layout.said_ms > _UNSAID_MS:
                await self._forget(layout)
        return True

    def _serve_all(self, shards: int) -> None:
        if shards not in self._served:
            self._served.add(shards)
            for name in shard_queues(self._declaration.name, shards):
                self._serve(name)

    async def _holds(self, shards: int, states: tuple[str, ...] | None = None) -> bool:
        """Whether any of these queues holds a job, in one of these states or in any."""
        queues = [self._queue(name) for name in shard_queues(self._declaration.name, shards)]
        for counts in await asyncio.gather(*(queue.counts() for queue in queues)):
            if any(count for state, count in counts.items() if states is None or state in states):
                return True
        return False

    async def _forget(self, layout: Layout) -> None:
        if await self._holds(layout.shards):
            return
        await self._layouts.forget(layout, _UNSAID_MS)
        self._served.discard(layout.shards)
        for name in shard_queues(self._declaration.name, layout.shards):
            await self._retire(name)
