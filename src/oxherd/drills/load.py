"""A steady load: emits at a given mean rate, whether or not earlier emits have returned."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from uuid_utils.compat import uuid7

from oxherd.app import Oxherd
from oxherd.drills.app import EXTRA, WORK, Work
from oxherd.drills.ledger import EmitResult, Ledger
from oxherd.errors import EmitError

_PADDING_BYTES = 200


class Load:
    """Emits from `start` to `stop`: `rate` events a second, of which the share `extra` is unknown to older workers.

    `options` are passed to each emit; `padding` is how many bytes are added to each payload, to fill a server.
    """

    def __init__(self, herd: Oxherd, ledger: Ledger, rng: random.Random, *, rate: float, extra: float = 0.0) -> None:
        self._herd = herd
        self._ledger = ledger
        self._rng = rng
        self._rate = rate
        self._extra = extra
        self._number = 0
        self._emits: set[asyncio.Task[str]] = set()
        self._task: asyncio.Task[None] | None = None
        self.options: dict[str, Any] = {}
        self.padding = _PADDING_BYTES

    def start(self) -> None:
        """Begin to emit."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop emitting, and wait until every emit has returned or failed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._emits:
            await asyncio.wait(self._emits)

    async def emit(self, **work: Any) -> str:
        """Emit one event beside the load; returns its id."""
        return await self._emit(WORK, self._work(**work))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            event = EXTRA if self._rng.random() < self._extra else WORK
            task = loop.create_task(self._emit(event, self._work(seconds=self._rng.uniform(0.002, 0.03))))
            self._emits.add(task)
            task.add_done_callback(self._emits.discard)
            due += self._rng.expovariate(self._rate)
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _work(self, **fields: Any) -> Work:
        self._number += 1
        return Work(number=self._number, padding="x" * self.padding, **fields)

    async def _emit(self, event: str, work: Work) -> str:
        event_id = uuid7()
        entry = self._ledger.record_emit(str(event_id), event)
        try:
            await self._herd[event].emit(work, id=event_id, **self.options)
        except EmitError as error:
            self._ledger.record_result(entry, EmitResult.UNKNOWN if error.maybe_stored else EmitResult.REFUSED)
        else:
            self._ledger.record_result(entry, EmitResult.ACKNOWLEDGED)
        return entry.id
