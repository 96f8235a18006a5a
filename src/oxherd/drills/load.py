"""A steady load: one emit after the other at a given rate, whatever becomes of those before."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from uuid_utils.compat import uuid7

from oxherd.app import Oxherd
from oxherd.drills.app import EXTRA, WORK, Work
from oxherd.drills.ledger import Answer, Ledger
from oxherd.errors import EmitError

# A full server is filled with the padding of events, so that a drill need not emit many.
_PADDING_BYTES = 200


class Load:
    """Emits from `start` to `stop`; `rate` is in events a second, `options` go to each emit.

    `extra` is the share of events that older workers do not know.
    """

    def __init__(self, herd: Oxherd, ledger: Ledger, rng: random.Random, *, rate: float, extra: float = 0.0) -> None:
        self._herd = herd
        self._ledger = ledger
        self._rng = rng
        self._rate = rate
        self._extra = extra
        self._number = 0
        self._emits: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.options: dict[str, Any] = {}
        self.padding = _PADDING_BYTES

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Emit nothing more, and wait until every emit has its answer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._emits:
            await asyncio.wait(self._emits)

    async def emit(self, **work: Any) -> str:
        """Emit one piece of work beside the load; answers its id."""
        return await self._emit(WORK, self._work(**work))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            event = EXTRA if self._rng.random() < self._extra else WORK
            task = loop.create_task(self._one(event, self._work(seconds=self._rng.uniform(0.002, 0.03))))
            self._emits.add(task)
            task.add_done_callback(self._emits.discard)
            due += self._rng.expovariate(self._rate)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _one(self, event: str, work: Work) -> None:
        await self._emit(event, work)

    def _work(self, **fields: Any) -> Work:
        self._number += 1
        return Work(number=self._number, padding="x" * self.padding, **fields)

    async def _emit(self, event: str, work: Work) -> str:
        event_id = uuid7()
        entry = self._ledger.emitting(str(event_id), event)
        try:
            await self._herd[event].emit(work, id=event_id, **self.options)
        except EmitError as error:
            self._ledger.answered(entry, Answer.UNKNOWN if error.maybe_stored else Answer.REFUSED)
        else:
            self._ledger.answered(entry, Answer.ACKNOWLEDGED)
        return entry.id
