"""Cancels a job, whichever of several queues has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from oxherd.answers.job_answers import QueueAnswers, cancelled
from oxherd.bullmq.cancellation import CancelReply, cancel_job
from oxherd.bullmq.queue import BullQueue
from oxherd.errors import RedisUnavailable, UsageError
from oxherd.redis.retry import retry_until

_LONGEST_REASON = 500


def checked_reason(reason: object, event: str) -> str:
    """A reason as it may be stored.

    Raises:
        UsageError: it is no str, too long, or not text that UTF-8 can hold.
    """
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON:
        raise UsageError(f"{event}: cancel() takes the reason as a str of at most {_LONGEST_REASON} characters.")
    try:
        reason.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{event}: the reason of a cancel() has half of a surrogate pair; pass whole text.") from None
    return reason


async def cancel_in(places: Sequence[QueueAnswers], job_id: str, reason: str, deadline: float) -> CancelReply:
    """The reply of the queue that has the job, without waiting for the others, whose servers may be away.

    Raises:
        RedisUnavailable: a queue that may have it could not be asked by `deadline` (monotonic seconds).
        ScriptError: as `Client.script`.
    """
    wishes = [asyncio.ensure_future(cancel_until(place.queue, job_id, reason, deadline)) for place in places]
    away: RedisUnavailable | None = None
    try:
        for replied in asyncio.as_completed(wishes):
            try:
                if (reply := await replied) is not CancelReply.NOTHING:
                    return reply
            except RedisUnavailable as error:
                away = error
    finally:
        await cancelled(wishes)
    if away is not None:
        raise away
    return CancelReply.NOTHING


async def cancel_until(
    queue: BullQueue, job_id: str, reason: str, deadline: float, *, only_waiting: bool = False
) -> CancelReply:
    """Cancel a job of one queue, retried until `deadline` (monotonic seconds); as `cancel_job`.

    BEFORE is NOTHING here, or DONE where an attempt whose reply was lost may have done it.
    """
    maybe_done = False

    async def attempt() -> CancelReply:
        nonlocal maybe_done
        try:
            return await cancel_job(queue, job_id, reason, only_waiting=only_waiting)
        except RedisUnavailable as error:
            maybe_done = maybe_done or error.maybe_applied
            raise

    reply = await retry_until(deadline, attempt)
    if reply is CancelReply.BEFORE:
        # By an attempt of ours whose reply was lost, as far as can be known.
        return CancelReply.DONE if maybe_done else CancelReply.NOTHING
    return reply
