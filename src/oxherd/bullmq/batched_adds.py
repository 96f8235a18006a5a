"""Adds events many at a time: those that are emitted in the same turn of the event loop go with one script.

BullMQ's addStandardJob unpacks and looks up again for each job what is the same for all of them. The script here leaves
the same data behind, which a test proves on random histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.scripts import add_many
from oxherd.redis.client import Argument, Begun, CallState, Client

# Enough to amortise what is looked up once, few enough that nobody waits for long behind one script.
_MOST_AT_ONCE = 50
_MOST_BYTES = 256 * 1024


class BatchedAdds:
    """One queue's new jobs, gathered and sent together: jobs without delay and priority."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._slot = keys.slot
        self._base = keys.base
        self._keys = (keys.wait, keys.meta, keys.id, keys.active, keys.events, keys.marker)
        self._gathered: list[NewJob] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._sent = CallState()
        self._bytes = 0
        self._until = 0.0
        self._options: tuple[dict[str, Any], bytes] = ({}, pack({}))
        self._sending: set[asyncio.Task[None]] = set()

    async def add(self, job: NewJob, attempts: CallState | None, until: float) -> None:
        """Add a job, together with others that are added in the same turn; one attempt.

        A durable one has `until` (monotonic seconds) to be confirmed.

        Raises:
            RedisUnavailable, ScriptError, Unconfirmed: as `Client.script`; `attempts` notes what is known of it.
        """
        future, sent = self._gather(job, until)
        await _noted(future, sent, attempts)

    async def add_all(self, jobs: list[NewJob], attempts: CallState | None, until: float) -> None:
        """Add one of `batches`, in order, with one script; one attempt. As `add`, for all of them."""
        self._send_gathered()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent = CallState()
        self._send(jobs, [future], sent, until)
        await _noted(future, sent, attempts)

    def _gather(self, job: NewJob, until: float) -> tuple[asyncio.Future[None], CallState]:
        loop = asyncio.get_running_loop()
        if self._gathered and not _alike(self._gathered[0], job):
            self._send_gathered()
        if not self._gathered:
            loop.call_soon(self._send_gathered)
        future: asyncio.Future[None] = loop.create_future()
        sent = self._sent
        self._gathered.append(job)
        self._waiting.append(future)
        self._bytes += len(job.data)
        self._until = max(self._until, until)
        if len(self._gathered) >= _MOST_AT_ONCE or self._bytes > _MOST_BYTES:
            self._send_gathered()
        return future, sent

    def _send_gathered(self) -> None:
        jobs, self._gathered = self._gathered, []
        waiting, self._waiting = self._waiting, []
        sent, self._sent = self._sent, CallState()
        until, self._until = self._until, 0.0
        self._bytes = 0
        if jobs:
            self._send(jobs, waiting, sent, until)

    def _send(self, jobs: list[NewJob], waiting: list[asyncio.Future[None]], sent: CallState, until: float) -> None:
        each: list[Argument] = []
        for job in jobs:
            each += (job.id, job.data, job.metadata)
        first = jobs[0]
        declared = (*self._keys, self._base + first.id)
        arguments = (*declared, self._base, now_ms(), first.name, self._packed(first.options), first.once_ms, *each)
        client = self._client
        if first.durable:
            self._start_for(waiting, self._script(arguments, None, waiting, sent, until))
            return
        begun = client.begin(self._slot, add_many(), arguments)
        if begun is None:
            self._start(self._send_connected(jobs, waiting, sent))
            return
        sent.maybe_applied = True

        def answered(future: asyncio.Future[Any]) -> None:
            if future.cancelled() or future.exception() is not None or client.outages.open:
                self._start(self._script(arguments, begun, waiting, sent))
            else:
                _deliver(waiting, None)

        begun.future.add_done_callback(answered)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    def _start_for(self, waiting: list[asyncio.Future[None]], coroutine: Coroutine[Any, Any, None]) -> None:
        """Start what is to end once nobody waits for it: whoever gave up was told what is known by then."""
        task = self._start(coroutine)
        left = len(waiting)

        def leave(_: asyncio.Future[None]) -> None:
            nonlocal left
            left -= 1
            if not left:
                task.cancel()

        for future in waiting:
            future.add_done_callback(leave)

    async def _send_connected(self, jobs: list[NewJob], waiting: list[asyncio.Future[None]], sent: CallState) -> None:
        """Send once there is a connection, unless nobody waits any more: whoever gave up was told: not stored."""
        try:
            await self._client.connected(self._slot)
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            _deliver(waiting, error)
            return
        if len(waiting) == len(jobs):
            jobs = [job for job, future in zip(jobs, waiting, strict=True) if not future.done()]
        waiting = [future for future in waiting if not future.done()]
        if waiting:
            self._send(jobs, waiting, sent, 0.0)

    async def _script(
        self,
        arguments: tuple[Argument, ...],
        begun: Begun | None,
        waiting: list[asyncio.Future[None]],
        sent: CallState,
        until: float | None = None,
    ) -> None:
        attempts = CallState() if begun is not None else sent
        try:
            await self._client.script(self._slot, add_many(), arguments, attempts=attempts, begun=begun, until=until)
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            sent.maybe_applied = attempts.maybe_applied
            _deliver(waiting, error)
        else:
            _deliver(waiting, None)

    def _packed(self, options: dict[str, Any]) -> bytes:
        """An event's options are the same object each time: packed once."""
        if self._options[0] is not options:
            self._options = (options, pack(options))
        return self._options[1]


def _alike(one: NewJob, other: NewJob) -> bool:
    return (
        one.options is other.options
        and one.name == other.name
        and one.once_ms == other.once_ms
        and one.durable == other.durable
    )


def batches(jobs: list[NewJob]) -> Iterator[list[NewJob]]:
    """Jobs in pieces that each go with one script."""
    batch: list[NewJob] = []
    size = 0
    for job in jobs:
        if batch and (len(batch) >= _MOST_AT_ONCE or size > _MOST_BYTES or not _alike(batch[0], job)):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += len(job.data)
    if batch:
        yield batch


async def _noted(future: asyncio.Future[None], sent: CallState, attempts: CallState | None) -> None:
    """Wait for the answer; `attempts` knows, also when this is cancelled, what is known of the script."""
    try:
        await future
    except BaseException:
        if attempts is not None:
            attempts.maybe_applied = attempts.maybe_applied or sent.maybe_applied
            attempts.unconfirmed = sent.unconfirmed or attempts.unconfirmed
        raise


def _deliver(waiting: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
