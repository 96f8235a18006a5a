"""An event that was emitted: what became of it, asked for from any process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Never, Protocol, TypeVar, cast
from uuid import UUID

from oxherd.answers.job_cancel import checked_reason
from oxherd.answers.status import Status, Update
from oxherd.payload.result_type import ResultType
from oxherd.policy import Seconds, seconds
from oxherd.producer.backend import Backend
from oxherd.producer.delivery import Delivery
from oxherd.producer.event_answers import EventAnswers

R = TypeVar("R", covariant=True)


class Origin(Protocol):
    """The event that an `Emitted` is one of."""

    @property
    def answers(self) -> EventAnswers: ...
    @property
    def result_type(self) -> ResultType: ...
    @property
    def delivery(self) -> Delivery | None: ...
    async def backend(self) -> Backend: ...
    def run_sync(self, coroutine: Coroutine[Any, Any, Any]) -> Any: ...


@dataclass(frozen=True, init=False)
class Emitted(Generic[R]):
    """An event that the queue has acknowledged, or one of which the id was kept (`Event.emitted`)."""

    __slots__ = ("_job", "event", "id")

    id: UUID
    event: str

    def __init__(self, origin: Origin, event: str, job_id: str, event_id: UUID, *, duplicate: bool = False) -> None:
        put = object.__setattr__
        put(self, "id", event_id)
        put(self, "event", event)
        put(self, "_job", (origin, job_id, duplicate))

    @property
    def job(self) -> tuple[Origin, str]:
        """Where to ask, and for which job; no field, since an `Emitted` that a handler returns is stored as JSON."""
        return self._made[:2]

    @property
    def duplicate(self) -> bool:
        """Whether the emit made no event, by `unique`, `once` or since its id was known; `id` is then the first one's.

        An emit that had to repeat its call, and found its own id stored, has made it.
        """
        return self._made[2]

    @property
    def _made(self) -> tuple[Origin, str, bool]:
        return cast("tuple[Origin, str, bool]", object.__getattribute__(self, "_job"))

    def __reduce__(self) -> Never:
        raise TypeError("an Emitted is not pickled: keep its id, and ask by event.emitted(id)")

    async def result(self, timeout: Seconds | None = None) -> R:
        """What its handler returned, as the declared type, once it has ended.

        `timeout` is in seconds, or a timedelta; None waits without end, through outages.

        Asked for while the event is stored, the answer is never missed: the wish is stored with the job, whose end
        leaves the answer for a minute. Asked for later, it is there as long as `keep=` has the job, or the queue's
        event stream its end (the last 10,000 entries, some 2,500 events). What Node's worker ended is read there too.

        Raises:
            EventFailed: it failed, timed out or was discarded; EventExpired: it was dropped before its first begin.
            EventCancelled: it was cancelled.
            ResultTimeout: it has not ended in time (also a TimeoutError); it goes on.
            ResultGone: nothing is stored of it; raised at once.
            InvalidResult: the result does not fit the type, or does not open here.
            DeclarationError: `timeout` is no duration.

        Redis: the job's field `ox:asked`, the key `answer:<id>` and BullMQ's event stream, of which all that wait in an
        event loop share one reader a queue. Scripts: ask; commands: XREAD, XREVRANGE.
        """
        limit = None if timeout is None else seconds(timeout, f"{self.event}: timeout")
        origin, job_id = self.job
        if (delivery := origin.delivery) is not None:
            return cast("R", origin.answers.value(delivery.end_of(job_id), job_id, origin.result_type))
        return cast("R", await origin.answers.result(await origin.backend(), job_id, origin.result_type, limit))

    async def status(self) -> Status | None:
        """How it is doing; None where nothing is stored of it: it has been removed, or never was. Script: status.

        Raises:
            RedisUnavailable: the server was away for the herd's `emit_timeout`.
        """
        origin, job_id = self.job
        return await origin.answers.status(await origin.backend(), job_id)

    async def outcome(self) -> str | None:
        """How it ended, in the log's word; None if it has not, or nothing tells any more. Does not wait for the end.

        The word is completed, failed, timed_out, discarded, cancelled or expired, and is there for as long as `result`
        is, also where the event itself is no longer stored.

        Raises:
            RedisUnavailable: the server was away for the herd's `emit_timeout`.

        Redis: as `result`, without its reader. Scripts: ask; commands: XREVRANGE.
        """
        origin, job_id = self.job
        if (delivery := origin.delivery) is not None:
            return delivery.end_of(job_id).final_outcome
        return await origin.answers.outcome(await origin.backend(), job_id)

    async def updates(self, after: str | None = None) -> AsyncGenerator[Update]:
        """What happens to it from now on, or after the position of an update, until it has ended.

        Where the event stream no longer has the position, or 2,000 entries have followed, it begins as without one.

        Of an event that runs it first tells that it began, and its last progress. Waits through outages.

        Raises:
            ResultGone: nothing is stored of it.
            UsageError: `after` is no position.

        Redis: BullMQ's event stream, by the reader that `result` uses.
        """
        origin, job_id = self.job
        async with aclosing(origin.answers.updates(await origin.backend(), job_id, after)) as updates:
            async for update in updates:
                yield update

    async def cancel(self, reason: str = "") -> bool:
        """Cancel it; returns whether there was something to cancel: it had not ended.

        One that waits or is delayed is removed. One that runs hears of it within a second, in whatever process
        (`ctx.cancelled` is a Cancelled): it fails with the outcome `cancelled`, without another attempt, unless its
        handler returns all the same. A run of Node's worker is not reached. `reason` is stored and logged as it is: it
        should name nobody.

        Raises:
            UsageError: `reason` is no str of at most 500 characters, or it is a schedule's next tick (`unschedule`).
            RedisUnavailable: the server was away for the herd's `emit_timeout`; it may be cancelled all the same.

        Redis: of one that is removed the key `answer:<id>`, of another the job's field `ox:cancel` and the set
        `cancels`. Script: removeJob.
        """
        origin, job_id = self.job
        reason = checked_reason(reason, self.event)
        if (delivery := origin.delivery) is not None:
            return delivery.cancel(job_id, reason)
        return await origin.answers.cancel(await origin.backend(), job_id, reason)

    def result_sync(self, timeout: Seconds | None = None) -> R:
        """`result` from code without an event loop. Raises UsageError where one runs in this thread."""
        return cast("R", self.job[0].run_sync(self.result(timeout)))

    def status_sync(self) -> Status | None:
        """`status` from code without an event loop."""
        return cast("Status | None", self.job[0].run_sync(self.status()))

    def outcome_sync(self) -> str | None:
        """`outcome` from code without an event loop."""
        return cast("str | None", self.job[0].run_sync(self.outcome()))

    def cancel_sync(self, reason: str = "") -> bool:
        """`cancel` from code without an event loop."""
        return cast("bool", self.job[0].run_sync(self.cancel(reason)))
