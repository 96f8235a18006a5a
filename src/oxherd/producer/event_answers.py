"""One event's answers: finds the queues that may have a job, and reads what became of it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Never

from oxherd.answers.job_answers import QueueAnswers, end_now, wait_for_end
from oxherd.answers.job_cancel import cancel_in
from oxherd.answers.job_updates import job_updates
from oxherd.answers.status import Status, Update, status_of
from oxherd.bullmq.answers import JobEnd
from oxherd.bullmq.cancellation import CancelReply
from oxherd.bullmq.event_stream import is_entry_id
from oxherd.bullmq.job_status import JobStatus, job_status, stored_payload
from oxherd.bullmq.pausing import is_paused
from oxherd.context import Cancelled
from oxherd.declaration import Declaration
from oxherd.errors import (
    EventCancelled,
    EventExpired,
    EventFailed,
    OxherdError,
    ResultGone,
    ResultTimeout,
    UsageError,
)
from oxherd.payload.failure import EventError
from oxherd.payload.result_type import ResultType
from oxherd.producer.backend import Backend
from oxherd.redis.client import ScriptError
from oxherd.redis.retry import retry_until


class EventAnswers:
    """Asks for jobs of one event; what does not wait for the job has `timeout` seconds."""

    def __init__(self, declaration: Declaration, timeout: float) -> None:
        self._declaration = declaration
        self._name = declaration.name
        self._timeout = timeout

    async def result(self, backend: Backend, job_id: str, result: ResultType, timeout: float | None) -> Any:
        """The job's result, within `timeout` seconds. Raises as `Emitted.result`."""
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                places = await self._places(backend, job_id)
                anothers = await self._is_anothers(places, job_id)
                end = None if anothers else await wait_for_end(places, job_id)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ResultTimeout(
                f"{self._name}: {job_id} has not ended within {timeout:g} s; ask again, or see its status."
            ) from None
        except ScriptError as error:
            raise self._damaged(job_id, error) from None
        return self.value(end, job_id, result)

    def value(self, end: JobEnd | None, job_id: str, result: ResultType) -> Any:
        """What `result` returns, or raises, for how a job ended."""
        if end is None:
            self._gone(job_id)
        if end.completed:
            return result.read(end.value, job_id)
        reason, outcome = end.value.decode("utf-8", "replace"), end.outcome or "failed"
        if outcome == "cancelled":
            # A job in failed has a sentence that a board can show.
            reason = reason.removeprefix(str(Cancelled())).removeprefix(": ")
            why = f": {reason.rstrip('.')}" if reason else ""
            raise EventCancelled(f"{self._name}: {job_id} was cancelled{why}.", reason=reason)
        if outcome == "expired":
            text = f"{self._name}: {job_id} was not begun in time, and dropped; emit it again, or let it expire later."
            raise EventExpired(text, error_type=end.error, reason=reason, outcome=outcome)
        cause = str(EventError(end.error, reason)).rstrip(".")
        text = f"{self._name}: {job_id} {_VERBS.get(outcome, 'has failed')} ({cause}); see its log, and retry it."
        raise EventFailed(text, error_type=end.error, reason=reason, outcome=outcome)

    async def status(self, backend: Backend, job_id: str) -> Status | None:
        """The job's status; None where nothing is stored. Raises as `Emitted.status`."""
        deadline = time.monotonic() + self._timeout
        try:
            places = await self._places(backend, job_id, deadline)
            reads = (retry_until(deadline, lambda q=place.queue: job_status(q, job_id)) for place in places)
            found = await asyncio.gather(*reads)
            status = next((status_of(job) for job in found if job is not None and self._is_own(job)), None)
            if status is not None and not status.paused and self._declaration.shards > 1:
                # A shard that no worker has served yet is not paused itself.
                home = backend.queue(self._declaration)
                status = replace(status, paused=await retry_until(deadline, lambda: is_paused(home)))
        except ScriptError as error:
            raise self._damaged(job_id, error) from None
        return status

    async def payload(self, backend: Backend, job_id: str) -> bytes | None:
        """The job's payload as it is stored; None where nothing is. Command: HMGET. Raises as `Event.payload`."""
        deadline = time.monotonic() + self._timeout
        try:
            places = await self._places(backend, job_id, deadline)
            reads = (retry_until(deadline, lambda q=place.queue: stored_payload(q, job_id)) for place in places)
            found = await asyncio.gather(*reads)
        except ScriptError as error:
            raise self._damaged(job_id, error) from None
        own = self._declaration.own_queue
        return next((data for name, data in found if data is not None and (own or name == self._name)), None)

    async def outcome(self, backend: Backend, job_id: str) -> str | None:
        """How the job ended, without waiting for its end. Raises as `Emitted.outcome`."""
        deadline = time.monotonic() + self._timeout
        try:
            places = await self._places(backend, job_id, deadline)
            if await self._is_anothers(places, job_id, deadline):
                return None
            asked = (retry_until(deadline, lambda p=place: end_now(p, job_id)) for place in places)
            ends = await asyncio.gather(*asked)
        except ScriptError as error:
            raise self._damaged(job_id, error) from None
        return next((end.final_outcome for end in ends if end is not None), None)

    async def cancel(self, backend: Backend, job_id: str, reason: str) -> bool:
        """Cancel the job; returns whether there was something to cancel. Raises as `Emitted.cancel`."""
        deadline = time.monotonic() + self._timeout
        try:
            places = await self._places(backend, job_id, deadline)
            if await self._is_anothers(places, job_id, deadline):
                return False
            reply = await cancel_in(places, job_id, reason, deadline)
        except ScriptError as error:
            raise OxherdError(
                f"{self._name}: {job_id} cannot be cancelled ({str(error).rstrip('.')}); mend that key."
            ) from None
        if reply is CancelReply.TICK:
            raise UsageError(
                f"{self._name}: {job_id} is a schedule's next tick, which the schedule needs to go on; end that by "
                "unschedule()."
            )
        return reply is CancelReply.DONE

    async def updates(self, backend: Backend, job_id: str, after: str | None) -> AsyncGenerator[Update]:
        """What happens to the job, until it has ended. Raises as `Emitted.updates`."""
        is_text = after is None or isinstance(after, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_text or (after is not None and not is_entry_id(after)):
            raise UsageError(f"{self._name}: after= takes the position of an update, such as '1700000000000-0'.")
        try:
            places = await self._places(backend, job_id)
            if await self._is_anothers(places, job_id):
                self._gone(job_id)
            async with aclosing(job_updates(places, job_id, None if after is None else after.encode())) as updates:
                async for update in updates:
                    if update is None:
                        self._gone(job_id)
                    yield update
        except ScriptError as error:
            raise self._damaged(job_id, error) from None

    def _is_own(self, job: JobStatus) -> bool:
        return self._declaration.own_queue or job.name == self._name

    async def _is_anothers(self, places: Sequence[QueueAnswers], job_id: str, deadline: float | None = None) -> bool:
        """Whether a queue that events share has it as another event's job."""
        if self._declaration.own_queue:
            return False
        job = await retry_until(deadline, lambda: job_status(places[0].queue, job_id))
        return job is not None and not self._is_own(job)

    async def _places(self, backend: Backend, job_id: str, deadline: float | None = None) -> Sequence[QueueAnswers]:
        queue = backend.queue(self._declaration)
        if not self._declaration.own_queue:
            return [backend.answers(queue)]
        router = backend.shard_router(self._declaration)
        queues = await retry_until(deadline, lambda: router.places(job_id))
        return [backend.answers(queue) for queue in queues]

    def _gone(self, job_id: str) -> Never:
        raise ResultGone(
            f"{self._name}: nothing is stored of {job_id}; it ended a while ago or never was: ask while it is stored, "
            "or have it kept by keep=."
        )

    def _damaged(self, job_id: str, error: ScriptError) -> OxherdError:
        return OxherdError(f"{self._name}: {job_id} cannot be asked for ({str(error).rstrip('.')}); mend that key.")


_VERBS = {"timed_out": "has timed out", "discarded": "was discarded"}
