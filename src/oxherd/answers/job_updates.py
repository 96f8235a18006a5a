"""Follows a job from its begin to its end, by its queue's event stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar

from oxherd.answers.event_reader import Watch
from oxherd.answers.job_answers import QueueAnswers, ask_all, call, cancelled, search
from oxherd.answers.status import Update
from oxherd.bullmq.answers import JobEnd, NoAnswer, ask, entry_fields, job_end
from oxherd.bullmq.event_stream import entry_order
from oxherd.bullmq.job_status import JobStatus, job_status, progress_value
from oxherd.payload.failure import EventError
from oxherd.redis.stream_reader import StreamEntry

T = TypeVar("T")

# So much of the stream is read to go on from a position; of more, only how the job is doing by now.
_MOST_READ = 2000


async def job_updates(
    places: Sequence[QueueAnswers], job_id: str, after: bytes | None
) -> AsyncGenerator[Update | None]:
    """What happens to a job, after a position if one is given; the last is its end, or None if nothing knows the job.

    Without a position, or where the stream no longer has it, it begins with what a running job has done. Waits through
    outages.

    Raises:
        ScriptError: as `Client.script`.
        UsageError: the herd was closed meanwhile.
    """
    place = await _holder(places, job_id)
    if place is None:
        yield None
        return
    with place.reader.watch(job_id, with_entries=True) as watch:
        await place.reader.ready()
        story = _Story(job_id)
        for update in await _since(place, story, after):
            yield update
        while True:
            watch.woken.clear()
            in_doubt, watch.in_doubt = watch.in_doubt, False
            answer = await ask_all([place], job_id) if in_doubt else NoAnswer.STORED
            for update in await _news(place, watch, story, ended=answer is not NoAnswer.STORED):
                yield update
            if answer is not NoAnswer.STORED:
                break
            await watch.woken.wait()
        # A caller that takes the updates slowly may come when the answer is gone.
        end = answer if isinstance(answer, JobEnd) else story.told_end or await search([place], job_id)
        yield None if end is None else story.ended(end)


class _Story:
    """What is known of a job by the entries that were read, up to a position."""

    def __init__(self, job_id: str) -> None:
        self.position = b"0-0"
        self.told_end: JobEnd | None = None
        self.job_id = job_id
        self._id = job_id.encode()
        # Followed from a position on, it may have begun before.
        self._began = True

    def updates(self, entries: Sequence[StreamEntry]) -> list[Update]:
        """What entries tell of the job, but for its end."""
        found = (self._update(entry) for entry in entries)
        return [update for update in found if update is not None]

    def _update(self, entry: StreamEntry) -> Update | None:
        position, flat = entry
        if self._id not in flat or entry_order(position) <= entry_order(self.position):
            return None
        fields = entry_fields(flat)
        if fields.get(b"jobId") != self._id:
            return None
        self.position = position
        event = fields.get(b"event")
        if event == b"added":
            self._began = False
        if event == b"active":
            self._began, self.told_end = True, None
            return Update("began", position.decode())
        if event == b"progress":
            return Update("progress", position.decode(), progress=progress_value(fields.get(b"data", b"")))
        self.told_end = job_end(fields) or self.told_end
        put_back = event == b"delayed" or (event == b"waiting" and fields.get(b"prev") == b"active")
        return Update("retrying", position.decode()) if put_back and self._began else None

    def so_far(self, job: JobStatus) -> list[Update]:
        """The updates that a stored job has behind it."""
        self.position, self._began, self.told_end = job.position, job.fence > 0, None
        if job.state != "running":
            return []
        began = Update("began", self.position.decode())
        return [began] if job.progress is None else [began, replace(began, kind="progress", progress=job.progress)]

    def ended(self, end: JobEnd) -> Update:
        """The job's end."""
        error = None if end.completed else EventError(end.error, end.value.decode("utf-8", "replace"))
        return Update("ended", self.position.decode(), outcome=end.final_outcome, error=error)


async def _since(place: QueueAnswers, story: _Story, after: bytes | None) -> list[Update]:
    """What happened since a position; how the job is doing, if there is none or the stream does not say."""
    if after is not None:
        entries = await call(place, lambda: place.reader.stream.since(after, _MOST_READ))
        if entries is not None:
            story.position = after
            return story.updates(entries)
    job = await call(place, lambda: job_status(place.queue, story.job_id))
    if job is None:  # it has ended, and only that is told
        story.position = await call(place, place.reader.stream.position)
        return []
    return story.so_far(job)


async def _news(place: QueueAnswers, watch: Watch, story: _Story, *, ended: bool) -> list[Update]:
    """What its watch was told since the last call; if the job has ended, also what the reader has not come to."""
    upto, entries = place.reader.position, watch.take()
    if watch.missed:
        watch.missed = False
        return await _since(place, story, story.position)
    found = story.updates(entries)
    if ended and story.told_end is None:
        rest = await call(place, lambda: place.reader.stream.since(upto, _MOST_READ))
        found += story.updates(rest or [])
    return found


async def _holder(places: Sequence[QueueAnswers], job_id: str) -> QueueAnswers | None:
    """The place that stores a job, or whose stream still tells its end; does not wait for the others."""
    if len(places) == 1:
        return places[0]
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(place.reader.watch(job_id))
        return await _first([_stores(place, job_id) for place in places]) or await _first(
            [_tells(place, job_id) for place in places]
        )


async def _stores(place: QueueAnswers, job_id: str) -> QueueAnswers | None:
    answer = await call(place, lambda: ask(place.queue, job_id))
    return None if answer is NoAnswer.GONE else place


async def _tells(place: QueueAnswers, job_id: str) -> QueueAnswers | None:
    return None if await search([place], job_id) is None else place


async def _first(looks: Sequence[Coroutine[Any, Any, T | None]]) -> T | None:
    """The first result that is not None."""
    tasks = [asyncio.ensure_future(look) for look in looks]
    try:
        for done in asyncio.as_completed(tasks):
            if (found := await done) is not None:
                return found
        return None
    finally:
        await cancelled(tasks)
