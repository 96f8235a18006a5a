"""Waits for how a job ended, whichever of several queues has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from oxherd.answers.event_reader import EventReader, Watch
from oxherd.answers.stream_search import StreamSearch
from oxherd.bullmq.answers import JobEnd, NoAnswer, ask
from oxherd.bullmq.queue import BullQueue
from oxherd.redis.retry import retry

T = TypeVar("T")


class QueueAnswers:
    """One queue's reader and search, shared by all who wait in an event loop."""

    def __init__(self, queue: BullQueue) -> None:
        self.queue = queue
        self.reader = EventReader(queue)
        self.search = StreamSearch(queue)

    async def close(self) -> None:
        """Close their connections."""
        await self.search.close()
        await self.reader.close()


async def wait_for_end(places: Sequence[QueueAnswers], job_id: str) -> JobEnd | None:
    """How a job ended, once it has; None if none of the queues knows it. Waits through outages.

    Raises:
        ScriptError: as `Client.script`.
    """
    with ExitStack() as stack:
        watches = [stack.enter_context(place.reader.watch(job_id)) for place in places]
        while True:
            for watch in watches:
                watch.woken.clear()
            answer = await ask_all(places, job_id)
            if answer is not NoAnswer.STORED:
                return await end_of(places, job_id, answer)
            await first_woken(watches)


async def ask_all(places: Sequence[QueueAnswers], job_id: str) -> JobEnd | NoAnswer:
    """The answer of the queue that knows the job, without waiting for the others, whose servers may be away."""
    if len(places) == 1:
        return await _ask(places[0], job_id)
    asks = [asyncio.ensure_future(_ask(place, job_id)) for place in places]
    try:
        for answered in asyncio.as_completed(asks):
            if (answer := await answered) is not NoAnswer.GONE:
                return answer
        return NoAnswer.GONE
    finally:
        await cancelled(asks)


async def _ask(place: QueueAnswers, job_id: str) -> JobEnd | NoAnswer:
    return await call(place, lambda: ask(place.queue, job_id))


async def call(place: QueueAnswers, attempt: Callable[[], Awaitable[T]]) -> T:
    """What a call to a place's queue returns, while it is watched there; tried again through outages.

    Raises:
        UsageError: the herd was closed meanwhile.
    """

    async def ready() -> T:
        await place.reader.ready()
        return await attempt()

    return await retry(ready)


async def end_of(places: Sequence[QueueAnswers], job_id: str, answer: JobEnd | NoAnswer) -> JobEnd | None:
    """How a job ended that is not stored any more, or has this answer; the streams know of an id's later use."""
    if isinstance(answer, JobEnd) and not answer.removed:
        return answer
    found = await search(places, job_id)
    return answer if found is None and isinstance(answer, JobEnd) else found


async def end_now(place: QueueAnswers, job_id: str) -> JobEnd | None:
    """How a job ended, as its queue tells now; None if it has not ended, or nothing tells.

    Raises:
        RedisUnavailable, ScriptError: as `Client.script`.
    """
    answer = await ask(place.queue, job_id)
    if answer is NoAnswer.STORED or (isinstance(answer, JobEnd) and not answer.removed):
        return answer if isinstance(answer, JobEnd) else None
    found = await place.search.find(job_id)
    return answer if found is None and isinstance(answer, JobEnd) else found


async def search(places: Sequence[QueueAnswers], job_id: str) -> JobEnd | None:
    """How a job that is gone ended, as far as the event streams still say; it is watched in each place."""
    found = await asyncio.gather(*(call(place, lambda place=place: place.search.find(job_id)) for place in places))
    return next((end for end in found if end is not None), None)


async def first_woken(watches: Sequence[Watch]) -> None:
    """Wait until one of several watches is woken."""
    if len(watches) == 1:
        await watches[0].woken.wait()
        return
    waits = [asyncio.ensure_future(watch.woken.wait()) for watch in watches]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(waits)


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel those of the tasks that are not done, and see to their errors."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
