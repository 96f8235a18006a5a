"""Adds the jobs that are emitted in the same turn of the event loop with one script.

BullMQ's addStandardJob looks up for each job what is the same for all. A test shows on random histories that ours
leaves the same data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

from oxherd.bullmq.batch_sender import BatchSender, Waiting, fail, lost
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.bullmq.keys import QueueKeys
from oxherd.bullmq.pack import pack
from oxherd.redis.client import Argument, CallState, Client

T = TypeVar("T")

# Enough to share what is looked up once, few enough that nobody waits long behind one script.
_MAX_JOBS = 50
_MAX_BYTES = 256 * 1024


class BatchedAdds:
    """One queue's new jobs without delay and priority, collected and sent together."""

    def __init__(self, client: Client, keys: QueueKeys) -> None:
        self._client = client
        self._slot = keys.slot
        self._base = keys.base
        self._keys = (keys.wait, keys.meta, keys.id, keys.active, keys.events, keys.marker)
        self._sender = BatchSender(client, keys.slot, "add_many")
        self._collected: list[NewJob] = []
        self._waiting: Waiting = []
        self._state = CallState()
        self._bytes = 0
        self._confirm_by = 0.0
        self._options: tuple[dict[str, Any], bytes] = ({}, pack({}))

    async def add(self, job: NewJob, state: CallState | None, confirm_by: float) -> str | None:
        """Add a job together with those that are added in the same turn, in one attempt.

        Returns the id of the job whose duplicate it is; None if it was added. A durable one has to be confirmed by
        `confirm_by` (monotonic seconds).

        Raises:
            RedisUnavailable, ScriptError, Unconfirmed: as `Client.script`, and `state` likewise.
        """
        future, batch_state = self._collect(job, confirm_by)
        return await _tracked(future, batch_state, state)

    async def add_all(self, jobs: list[NewJob], state: CallState | None, confirm_by: float) -> list[Any] | None:
        """Add one of `batches`, of two or more, in order, with one script, in one attempt. Raises as `add`.

        Returns the script's reply.
        """
        self._send_collected()
        future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
        batch_state = CallState()
        self._send(jobs, [future], batch_state, confirm_by)
        return await _tracked(future, batch_state, state)

    def _collect(self, job: NewJob, confirm_by: float) -> tuple[asyncio.Future[str | None], CallState]:
        loop = asyncio.get_running_loop()
        if self._collected and not _fit_together(self._collected[0], job):
            self._send_collected()
        if not self._collected:
            loop.call_soon(self._send_collected)
        future: asyncio.Future[str | None] = loop.create_future()
        state = self._state
        self._collected.append(job)
        self._waiting.append(future)
        self._bytes += len(job.data)
        self._confirm_by = max(self._confirm_by, confirm_by)
        if len(self._collected) >= _MAX_JOBS or self._bytes > _MAX_BYTES:
            self._send_collected()
        return future, state

    def _send_collected(self) -> None:
        jobs, self._collected = self._collected, []
        waiting, self._waiting = self._waiting, []
        state, self._state = self._state, CallState()
        confirm_by, self._confirm_by = self._confirm_by, 0.0
        self._bytes = 0
        if jobs:
            self._send(jobs, waiting, state, confirm_by)

    def _send(self, jobs: list[NewJob], waiting: Waiting, state: CallState, confirm_by: float) -> None:
        first, arguments = jobs[0], self.arguments(jobs)
        deliver = partial(_deliver if len(waiting) == len(jobs) else _deliver_all, waiting)
        sender = self._sender
        if first.durable:
            call = sender.call(arguments, waiting, deliver, state, confirm_by=confirm_by)
            _cancel_unawaited(sender.start(call), waiting)
        elif not sender.send(arguments, waiting, deliver, state):
            sender.start(self._connect_and_send(jobs, waiting, state))

    def arguments(self, jobs: list[NewJob]) -> tuple[Argument, ...]:
        """The script's keys and arguments; may be asked for from any thread."""
        each: list[Argument] = []
        for job in jobs:
            each += (job.id, job.data, job.metadata)
        first = jobs[0]
        keys = (*self._keys, self._base + first.id)
        return (*keys, self._base, now_ms(), first.name, self._packed(first.options), first.once_ms, *each)

    async def _connect_and_send(self, jobs: list[NewJob], waiting: Waiting, state: CallState) -> None:
        """Send once connected, without the jobs of callers that gave up: they were told that nothing is stored."""
        try:
            await self._client.connect(self._slot)
        except asyncio.CancelledError:
            fail(waiting, lost(self._client))
            raise
        except Exception as error:  # noqa: BLE001 - each of the callers gets it
            fail(waiting, error)
            return
        if len(waiting) == len(jobs):
            jobs = [job for job, future in zip(jobs, waiting, strict=True) if not future.done()]
        waiting = [future for future in waiting if not future.done()]
        if waiting:
            self._send(jobs, waiting, state, 0.0)

    def _packed(self, options: dict[str, Any]) -> bytes:
        # An event's options are the same object each time.
        known = self._options
        if known[0] is not options:
            known = self._options = (options, pack(options))
        return known[1]


def batches(jobs: list[NewJob]) -> Iterator[list[NewJob]]:
    """Split jobs into batches that each go with one script."""
    batch: list[NewJob] = []
    size = 0
    for job in jobs:
        if batch and (len(batch) >= _MAX_JOBS or size > _MAX_BYTES or not _fit_together(batch[0], job)):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += len(job.data)
    if batch:
        yield batch


def _fit_together(one: NewJob, other: NewJob) -> bool:
    return (
        one.options is other.options
        and one.name == other.name
        and one.once_ms == other.once_ms
        and one.durable == other.durable
    )


async def _tracked(future: asyncio.Future[T], batch: CallState, state: CallState | None) -> T:
    """Wait for the batch; `state` says, even after a cancellation, what is known of it."""
    try:
        return await future
    except BaseException:
        if state is not None:
            state.maybe_applied = state.maybe_applied or batch.maybe_applied
            state.unconfirmed = batch.unconfirmed or state.unconfirmed
        raise


def _deliver(waiting: Waiting, reply: list[Any] | None) -> None:
    """Give each job of a batch the id of the one that it repeats, or None."""
    if reply is None:
        _deliver_all(waiting, None)
        return
    repeated = dict(zip(reply[::2], reply[1::2], strict=True))
    for index, future in enumerate(waiting):
        if not future.done():
            first = repeated.get(index)
            future.set_result(first and first.decode("utf-8", "backslashreplace"))


def _deliver_all(waiting: Waiting, reply: list[Any] | None) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(reply)


def _cancel_unawaited(task: asyncio.Task[None], waiting: Waiting) -> None:
    """Cancel a durable add once nobody waits for it: its callers have been told what is known by then."""
    left = len(waiting)

    def leave(_: asyncio.Future[None]) -> None:
        nonlocal left
        left -= 1
        if not left:
            task.cancel()

    for future in waiting:
        future.add_done_callback(leave)
