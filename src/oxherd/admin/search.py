"""`find()`: events by state, time and error, over all queues as one."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from oxherd.admin.moments import moment, seconds_since
from oxherd.admin.rows import FoundEvent
from oxherd.admin.selection import SearchState, Selection
from oxherd.admin.shown import Shown
from oxherd.admin.target import Herd, Place, asked, places
from oxherd.bullmq.job_sets import PAGE, SETS, Cursor, FoundJob, JobFilter, JobSet, read_page
from oxherd.payload.failure import EventError

_FIRST_PAGE = 200
# Of payloads that are read at once, to redact what other programs have written.
_PAYLOADS = 20
_HIDDEN = "***"


class Found:
    """The events that a search finds: iterate it, by `async for`, or by `for` where no event loop runs.

    Each iteration searches anew.
    """

    def __init__(self, herd: Herd, selection: Selection, limit: int | None) -> None:
        self._herd = herd
        self._selection = selection
        self._limit = limit

    async def __aiter__(self) -> AsyncGenerator[FoundEvent]:
        """The events, read a page at a time."""
        left = self._limit
        shown = Shown()
        sources = await self._sources(shown)
        await asyncio.gather(*(source.fill() for source in sources))
        heap = [(source.key, number) for number, source in enumerate(sources) if source.rows]
        heapq.heapify(heap)
        while heap and left != 0:
            _, number = heapq.heappop(heap)
            source = sources[number]
            yield source.rows.popleft()[1]
            left = None if left is None else left - 1
            if left == 0:
                return
            if not source.rows:
                await source.fill()
            if source.rows:
                heapq.heappush(heap, (source.key, number))

    def __iter__(self) -> Iterator[FoundEvent]:
        """The events, for code without an event loop."""
        rows = aiter(self)

        async def following() -> FoundEvent | None:
            return await anext(rows, None)

        async def close() -> None:
            await rows.aclose()

        try:
            while (row := self._herd.run_sync(following())) is not None:
                yield row
        finally:
            self._herd.run_sync(close())

    async def all(self) -> list[FoundEvent]:
        """All of them at once; give a `limit`."""
        async with aclosing(aiter(self)) as rows:
            return [row async for row in rows]

    def all_sync(self) -> list[FoundEvent]:
        """`all` from code without an event loop."""
        return self._herd.run_sync(self.all())

    async def _sources(self, shown: Shown) -> list[_Source]:
        found = await places(self._herd, self._selection.event)
        sets = SETS[self._selection.state]
        return [
            _Source(self._herd, place, jobs, self._selection, self._limit, shown) for place in found for jobs in sets
        ]


class _Source:
    """One list or set of one queue: its rows in its order, of which some are read already."""

    def __init__(
        self, herd: Herd, place: Place, jobs: JobSet, selection: Selection, limit: int | None, shown: Shown
    ) -> None:
        self._herd = herd
        self._place = place
        self._jobs = jobs
        self._selection = selection
        self._wanted = job_filter(selection, place)
        self._most = min(PAGE, limit or _FIRST_PAGE)
        self._shown = shown
        self._cursor = Cursor()
        self._at_end = False
        self.rows: deque[tuple[int, FoundEvent]] = deque()

    @property
    def key(self) -> int:
        """What its next row is sorted by among those of other sources."""
        return self.rows[0][0]

    async def fill(self) -> None:
        """Read on until there is a row, or no more."""
        queue = self._place.queue
        while not self.rows and not self._at_end:
            page = await asked(
                self._herd,
                queue,
                lambda: read_page(queue, self._jobs, self._wanted, self._cursor, most=self._most),
            )
            errors = await shown_errors(self._herd, self._place, page.jobs, self._shown)
            for job, error in zip(page.jobs, errors, strict=True):
                if matches(self._selection, error):
                    self.rows.append((_key(job, self._jobs), self._row(job, error, page.server_ms)))
            self._cursor, self._at_end = page.last, page.at_end
            self._most = PAGE if self._most >= _FIRST_PAGE else self._most

    def _row(self, job: FoundJob, error: EventError | None, now_ms: int) -> FoundEvent:
        return found_event(self._place, job, self._selection.state, error, now_ms)


def found_event(place: Place, job: FoundJob, state: SearchState, error: EventError | None, now_ms: int) -> FoundEvent:
    """A job as it is shown."""
    event = place.event_of(job.name)
    ended = state in ("completed", "failed")
    return FoundEvent(
        id=place.event_id(job.cursor.id),
        event=None if event is None else event.name,
        queue=place.queue.keys.queue,
        state=state,
        attempt=max(1, job.attempts_made if ended else job.attempts_made + 1),
        held=job.held,
        error=None if state == "completed" else error,
        outcome=job.outcome or None,
        emitted_at=moment(job.emitted_ms),
        due_at=moment(job.due_ms),
        began_at=moment(job.began_ms),
        ended_at=moment(job.ended_ms) if ended else None,
        age=seconds_since(job.emitted_ms, now_ms),
    )


def job_filter(selection: Selection, place: Place) -> JobFilter:
    """What the server looks for; an error is compared again as it is shown."""
    # What is shown as *** stands there as something else.
    pieces = selection.error.split(_HIDDEN)
    text = max(pieces, key=len).encode("utf-8", "replace").lower().decode()
    name = place.name if selection.event is not None else ""
    return JobFilter(name, text, selection.error_type, selection.since_ms, selection.until_ms)


def matches(selection: Selection, error: EventError | None) -> bool:
    """Whether an error, as it is shown, is the one that is looked for; otherwise a search could tell what is hidden."""
    if not selection.is_searched:
        return True
    if error is None or (selection.error_type and error.type != selection.error_type):
        return False
    return _small(selection.error) in _small(str(error))


async def shown_errors(herd: Herd, place: Place, jobs: Sequence[FoundJob], shown: Shown) -> list[EventError | None]:
    """What failed the last runs of jobs: as our workers have written it, else redacted now. Command: HGET."""
    errors = [EventError(job.error_type, job.reason) if job.reason else None for job in jobs]
    foreign = [n for n, job in enumerate(jobs) if job.reason and not job.ours]
    k = place.queue.keys

    async def data(job: FoundJob) -> Any:
        key = k.base.encode() + job.cursor.id
        return await asked(herd, place.queue, lambda: place.queue.client.call(k.slot, "HGET", key, "data"))

    for start in range(0, len(foreign), _PAYLOADS):
        some = foreign[start : start + _PAYLOADS]
        for n, stored in zip(some, await asyncio.gather(*(data(jobs[n]) for n in some)), strict=True):
            job = jobs[n]
            errors[n] = shown.job(place.event_of(job.name), stored or b"null").error("", job.reason)
    return errors


def _key(job: FoundJob, jobs: JobSet) -> int:
    if jobs.ended:
        return -job.ended_ms
    return job.due_ms


def _small(text: str) -> bytes:
    # As the script does: of ASCII only.
    return text.encode("utf-8", "replace").lower()
