"""Jobs as another program adds them with BullMQ's own classes: with parents, deduplication ids, a limit on the queue.

Python's classes of BullMQ run the same scripts as Node's, wherever Node is missing.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

EVENT = "order.shared"
QUEUE = f"{{{EVENT}}}"
# What the failure of a child means to its parent.
ON_FAILURE = (
    "failParentOnFailure",
    "continueParentOnFailure",
    "ignoreDependencyOnFailure",
    "removeDependencyOnFailure",
)
FAILS = {"number": -1}


class Foreign:
    """Another program's view of the queue."""

    def __init__(self, queue: Any, flows: Any) -> None:
        self._queue = queue
        self._flows = flows

    async def add_families(self) -> int:
        """Parents whose children complete, or fail with each consequence; answers how many jobs there are."""
        for on_failure in ("", *ON_FAILURE):
            options = {on_failure: True} if on_failure else {}
            children: list[dict[str, Any]] = [_job({"number": 1}), _job(FAILS if on_failure else {}, **options)]
            await self._flows.add({**_job({}), "children": children})
        return 3 * (1 + len(ON_FAILURE))

    async def add_once(self, number: int) -> None:
        """A job that is dropped while one of the same deduplication id is there."""
        await self._add(number, {"id": "once"})
        await self._add(number, {"id": "throttled", "ttl": 5000})
        await self._add(number, {"id": "debounced", "ttl": 5000, "extend": True, "replace": True}, delay=50)

    async def add_last(self, number: int) -> None:
        """A job that follows on the one of the same deduplication id that runs."""
        await self._add(number, {"id": "last", "keepLastIfActive": True})

    async def limit(self) -> None:
        """At most a hundred jobs a second on the queue, of all workers."""
        await self._queue.setGlobalRateLimit(100, 1000)

    async def unlimit(self) -> None:
        await self._queue.removeGlobalRateLimit()

    async def _add(self, number: int, deduplication: dict[str, Any], **options: Any) -> None:
        await self._queue.add(EVENT, {"number": number}, {"deduplication": deduplication, "attempts": 1, **options})


@asynccontextmanager
async def foreign(url: str) -> AsyncGenerator[Foreign]:
    """BullMQ's own classes on the server of `url`."""
    bullmq: Any = importlib.import_module("bullmq")
    queue = bullmq.Queue(QUEUE, {"connection": url})
    flows = bullmq.FlowProducer({"connection": url})
    try:
        yield Foreign(queue, flows)
    finally:
        await queue.close()
        await flows.close()


def _job(data: dict[str, int], **options: Any) -> dict[str, Any]:
    return {"name": EVENT, "queueName": QUEUE, "data": data, "opts": {"attempts": 1, **options}}
