"""Completes events many at a time: those that end in the same turn of the event loop go with one script.

BullMQ's moveToFinished looks up again for each job what is the same for all of them; on a loaded queue most of the
server's time goes there. The script here leaves the same data behind, which a test proves on random histories.
"""

from __future__ import annotations

import asyncio
from typing import Any

from oxherd.queue.job import Job
from oxherd.queue.queue import BullQueue, Fetched, Refusal, fetched, now_ms
from oxherd.queue.scripts import finish_many
from oxherd.redis.client import Argument, Begun

# Enough to amortise what is looked up once, few enough that server and worker are busy at the same time: with 32 the
# rate is the same, but varies more.
_MOST_AT_ONCE = 16
_LEFT_TO_BULLMQ = 1

Answer = Fetched | Refusal | None
Gathered = tuple[Job, bytes, bool, asyncio.Future[Answer]]


class FinishMany:
    """One queue's completions, gathered and sent together."""

    def __init__(self, queue: BullQueue) -> None:
        self._queue = queue
        k = queue.keys
        self._keys = (k.wait, k.active, k.prioritized, k.events, k.stalled, k.delayed, k.meta, k.pc, k.marker)
        self._gathered: list[Gathered] = []
        self._lock_ms = 0
        self._sending: set[asyncio.Task[None]] = set()

    async def finish(self, job: Job, result: bytes, lock_ms: int, *, fetch_next: bool) -> Answer:
        """Complete a job and remove it; `result` is JSON. None: BullMQ's own script has to do it.

        Raises:
            RedisUnavailable, ScriptError: as `Client.script`, for all that were sent together.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        gathered = self._gathered
        if not gathered:
            loop.call_soon(self._send)
        self._lock_ms = lock_ms
        gathered.append((job, result, fetch_next, future))
        if len(gathered) == _MOST_AT_ONCE:
            # Sent now, the server works on these while we still run the others.
            self._send()
        return await future

    def _send(self) -> None:
        batch, self._gathered = self._gathered, []
        if not batch:
            return
        queue = self._queue
        each: list[Argument] = []
        for job, result, fetch_next, _ in batch:
            each += (job.id, job.token, result, "1" if fetch_next else "")
        arguments = (*self._keys, queue.keys.base, now_ms(), self._lock_ms, *each)
        begun = queue.client.begin(queue.keys.slot, finish_many(), arguments)
        task = asyncio.ensure_future(self._finish(batch, arguments, begun))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _finish(self, batch: list[Gathered], arguments: tuple[Argument, ...], begun: Begun | None) -> None:
        queue = self._queue
        try:
            script = finish_many()
            answers: list[Any] = await queue.client.script(queue.keys.slot, script, arguments, begun=begun)
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            for *_, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        if not answers:
            answers = [(_LEFT_TO_BULLMQ, 0)] * len(batch)
        for (job, _, _, future), (code, following) in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(_answer(job, code, following))


def _answer(job: Job, code: int, following: Any) -> Answer:
    if code == 0:
        return fetched(following, job.token)
    return None if code == _LEFT_TO_BULLMQ else Refusal(code)
