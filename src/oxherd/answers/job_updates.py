"""Follows a job from its begin to its end, by its queue's event stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain

from pydantic_core import from_json

from oxherd.answers.event_reader import Watch
from oxherd.answers.job_answers import QueueAnswers, ask_all, end_of, first_woken
from oxherd.answers.status import EventError, Update
from oxherd.bullmq.answers import JobEnd, NoAnswer, entry_fields
from oxherd.bullmq.event_stream import entry_order
from oxherd.bullmq.job_status import JobStatus, job_status
from oxherd.redis.retry import retry
from oxherd.redis.stream_reader import StreamEntry


async def job_updates(
    places: Sequence[QueueAnswers], job_id: str, after: bytes | None
) -> AsyncGenerator[Update | None]:
    """What happens to a job, after a position if one is given; the last is its end, or None if nothing knows the job.

    Without a position it begins with what a running job has done. Waits through outages.

    Raises:
        ScriptError: as `Client.script`.
    """
    with ExitStack() as stack:
        watches = [stack.enter_context(place.reader.watch(job_id, with_entries=True)) for place in places]
        positions = [await place.reader.ready() for place in places]
        story = _Story(job_id, began=after is not None)
        if after is None:
            begin = [await _so_far(place, story) for place in places]
        else:
            story.position = after
            begin = [await _missed(place, story, after, upto) for place, upto in zip(places, positions, strict=True)]
        for update in chain(*begin):
            yield update
        while True:
            for watch in watches:
                watch.woken.clear()
            answer = await ask_all(places, job_id)
            for update in _taken(watches, story):
                yield update
            if answer is not NoAnswer.STORED:
                break
            await first_woken(watches)
        # It has ended before the reader came to it.
        for place, position in zip(places, positions, strict=True):
            for update in await _missed(place, story, position, b"+"):
                yield update
        end = await end_of(places, job_id, answer)
        yield None if end is None else story.end(end)


class _Story:
    """What is known of a job by the entries that were read, up to a position."""

    def __init__(self, job_id: str, *, began: bool) -> None:
        self.job_id = job_id
        self.position = b"0-0"
        self._began = began

    def update(self, entry: StreamEntry) -> Update | None:
        """What an entry tells of the job, unless it is another's, an older one, or its end."""
        position, fields = entry[0], entry_fields(entry[1])
        if fields.get(b"jobId") != self.job_id.encode() or entry_order(position) <= entry_order(self.position):
            return None
        self.position = position
        event = fields.get(b"event")
        if event == b"active":
            self._began = True
            return Update("began", position.decode())
        if event == b"progress":
            return Update("progress", position.decode(), progress=_json(fields.get(b"data", b"null")))
        put_back = event == b"delayed" or (event == b"waiting" and fields.get(b"prev") == b"active")
        return Update("retrying", position.decode()) if put_back and self._began else None

    def so_far(self, job: JobStatus) -> list[Update]:
        """The updates that a stored job has behind it."""
        self.position, self._began = job.position, job.fence > 0
        if job.state != "running":
            return []
        began = Update("began", self.position.decode())
        return [began] if job.progress is None else [began, replace(began, kind="progress", progress=job.progress)]

    def end(self, end: JobEnd) -> Update:
        """The job's end."""
        outcome = end.outcome or ("completed" if end.completed else "failed")
        error = None if end.completed else EventError(end.error, end.value.decode("utf-8", "replace"))
        return Update("ended", self.position.decode(), outcome=outcome, error=error)


async def _so_far(place: QueueAnswers, story: _Story) -> list[Update]:
    job = await retry(lambda: job_status(place.queue, story.job_id))
    return [] if job is None else story.so_far(job)


async def _missed(place: QueueAnswers, story: _Story, after: bytes, upto: bytes) -> list[Update]:
    if upto != b"+" and entry_order(upto) <= entry_order(after):
        return []
    entries = await retry(lambda: place.reader.stream.between(after, upto))
    return [update for entry in entries if (update := story.update(entry)) is not None]


def _taken(watches: Sequence[Watch], story: _Story) -> list[Update]:
    found: list[Update] = []
    for watch in watches:
        while watch.entries:
            if (update := story.update(watch.entries.popleft())) is not None:
                found.append(update)
    return found


def _json(raw: bytes) -> object:
    try:
        return from_json(raw)
    except ValueError:
        return None
