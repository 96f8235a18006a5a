"""An event whose handlers do what they are told, for the tests of uniqueness."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import BaseModel

from oxherd import Debounce, Discard, Event, Oxherd, Unique
from oxherd.bullmq.queue import BullQueue
from tests.harness import until


class Sync(BaseModel):
    customer: str = "ann"
    number: int = 0
    does: Literal["return", "wait", "retry", "fail"] = "return"


def customer(sync: Sync) -> str:
    return sync.customer


class Runs:
    """What has run, and when those that wait may go on."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.go_on = asyncio.Event()

    async def process(self, sync: Sync) -> int:
        self.began.append(sync.number)
        if sync.does == "wait":
            await self.go_on.wait()
        if sync.does == "fail":
            raise Discard("as told")
        if sync.does == "retry" and self.began.count(sync.number) < 2:
            raise ValueError("again")
        return sync.number


def declare(herd: Oxherd, runs: Runs, unique: Unique | Debounce, **options: Any) -> Event[Sync, int]:
    async def process(sync: Sync) -> int:
        return await runs.process(sync)

    given: dict[str, Any] = {"key": customer, **options}
    return herd.event("customer.sync", unique=unique, **given)(process)


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["customer.sync"].declaration)


async def began(runs: Runs, count: int) -> None:
    await until(lambda: len(runs.began) >= count)
