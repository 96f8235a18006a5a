"""Completes events many at a time: those that end in the same turn of the event loop go with one script or a few.

BullMQ's moveToFinished looks up again for each job what is the same for all of them; on a loaded queue most of the
server's time goes there. The script here leaves the same data behind, which a test proves on random histories.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job, job_of, worker_of
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.replies import NOTHING, Fetched, Refusal
from oxherd.bullmq.scripts import finish_many
from oxherd.redis.client import Argument, Begun, Client

# Enough to amortise what is looked up once, few enough that server and worker are busy at the same time: with 32 the
# rate is the same, but varies more.
_MOST_AT_ONCE = 16
# Of what a worker holds, one part is at the server while it runs the others: else each waits for the other in turn.
_PARTS = 4
_LEFT_TO_BULLMQ = 1

Answer = Fetched | Refusal | None
Gathered = tuple[Job, bytes, bool, asyncio.Future[Answer]]


class BatchedFinishes:
    """One queue's completions, gathered and sent together."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._slot = keys.slot
        self._base = keys.base
        k = keys
        self._keys = (k.wait, k.active, k.prioritized, k.events, k.stalled, k.delayed, k.meta, k.pc, k.marker)
        self._gathered: list[Gathered] = []
        self._lock_ms = 0
        self._sending: set[asyncio.Task[None]] = set()

    def finish(
        self, job: Job, result: bytes, lock_ms: int, *, fetch_next: bool, running: int
    ) -> asyncio.Future[Answer]:
        """Complete a job and remove it; `result` is JSON, `running` how many jobs the worker holds.

        None: BullMQ's own script has to do it.

        The future's exception is RedisUnavailable or ScriptError, as `Client.script`, for all that were sent together.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        gathered = self._gathered
        if not gathered:
            loop.call_soon(self._send)
        self._lock_ms = lock_ms
        gathered.append((job, result, fetch_next, future))
        if len(gathered) >= min(_MOST_AT_ONCE, running // _PARTS):
            # Sent now, the server works on these while we still run the others.
            self._send()
        return future

    def _send(self) -> None:
        batch, self._gathered = self._gathered, []
        if not batch:
            return
        each: list[Argument] = []
        for job, result, fetch_next, _ in batch:
            each += (job.id, job.token, result, "1" if fetch_next else "")
        arguments = (*self._keys, self._base, now_ms(), self._lock_ms, worker_of(batch[0][0].token), *each)
        client = self._client
        begun = client.begin(self._slot, finish_many(), arguments)
        if begun is None:
            self._persist(batch, arguments, None)
            return

        def answered(future: asyncio.Future[Any]) -> None:
            if future.cancelled() or future.exception() is not None or client.outages.open:
                self._persist(batch, arguments, begun)
            else:
                _deliver(batch, future.result())

        begun.future.add_done_callback(answered)

    def _persist(self, batch: list[Gathered], arguments: tuple[Argument, ...], begun: Begun | None) -> None:
        task = asyncio.ensure_future(self._finish(batch, arguments, begun))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _finish(self, batch: list[Gathered], arguments: tuple[Argument, ...], begun: Begun | None) -> None:
        try:
            answers: list[Any] = await self._client.script(self._slot, finish_many(), arguments, begun=begun)
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            for *_, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        _deliver(batch, answers)


def _deliver(batch: list[Gathered], answers: list[Any]) -> None:
    if not answers:
        answers = [(_LEFT_TO_BULLMQ, 0)] * len(batch)
    for (job, _, _, future), (code, following) in zip(batch, answers, strict=True):
        if future.done():
            continue
        try:
            future.set_result(_answer(job.token, code, following))
        except Exception as error:  # noqa: BLE001 - the caller gets it; the others get their answers
            future.set_exception(error)


def _answer(token: str, code: int, following: Any) -> Answer:
    if code != 0:
        return None if code == _LEFT_TO_BULLMQ else Refusal(code)
    if type(following) is list:
        values, job_id, _, delayed_until_ms = cast("list[Any]", following)
        # No job is a 0; a job without any value is one whose key holds no hash.
        return Fetched(job_of(job_id, values, token)) if values != 0 else Fetched(None, 0, int(delayed_until_ms))
    return NOTHING
