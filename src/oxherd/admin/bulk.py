"""`retry`, `discard`, `cancel` and `promote` on a selection, in bounded batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from oxherd.admin.actions import Act, Acted
from oxherd.admin.locating import locate
from oxherd.admin.operation import Operation
from oxherd.admin.search import job_filter, matches, shown_errors
from oxherd.admin.selection import Selection
from oxherd.admin.shown import Shown
from oxherd.admin.target import Herd, Place, all_of, asked, places
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job_sets import SETS, Cursor, FoundJob, JobFilter, JobSet, Page, count, read_page
from oxherd.redis.client import ScriptError

_BATCH = 500


@dataclass
class _Source:
    """A list or set of a queue, how far it was gone through, and how many of its jobs are still to be looked at."""

    place: Place
    jobs: JobSet
    wanted: JobFilter
    cursor: Cursor
    left: int | None


class Bulk(Operation):
    """Acts on a selection. Made by `Admin.retry`, `discard`, `cancel` and `promote`."""

    def __init__(self, herd: Herd, action: str, act: Act, selection: Selection) -> None:
        super().__init__(herd, action)
        self._act = act
        self._selection = selection
        self._ids: list[UUID] = list(selection.ids or ())
        self._places: list[Place] = []
        self._sources: list[_Source] = []
        self._shown = Shown()

    async def _count(self) -> int | None:
        if self._selection.ids is not None:
            return len(self._selection.ids)
        counts = [each.left for each in await self._all_sources(await places(self._herd, self._selection.event))]
        return self._sum(counts)

    def _sum(self, counts: Sequence[int | None]) -> int | None:
        known = [each for each in counts if each is not None]
        return None if len(known) < len(counts) else sum(known)

    async def _begin(self) -> None:
        selection = self._selection
        self._places = await places(self._herd, selection.event)
        if selection.ids is not None:
            self._total = len(selection.ids)
            return
        self._began_ms = now_ms()
        self._sources = await self._all_sources(self._places)
        self._total = self._sum([each.left for each in self._sources])
        for source in self._sources:
            if source.jobs.is_list:
                source.left = None  # what comes meanwhile stands before it
        for source in self._sources:
            if not source.jobs.is_list and source.left is None:
                # What comes back meanwhile stands behind it.
                queue = source.place.queue
                source.left = await asked(self._herd, queue, lambda s=source: count(s.place.queue, s.jobs, s.wanted))

    async def _all_sources(self, found: Sequence[Place]) -> list[_Source]:
        """The lists and sets to go through, `left` None where nobody knows how many of their jobs are meant."""

        async def source(place: Place, jobs: JobSet) -> _Source:
            wanted = job_filter(self._selection, place)
            times = wanted.least_ms is not None or wanted.greatest_ms is not None
            left = None
            if not (self._selection.is_searched or wanted.name or (times and not jobs.ended)):
                left = await asked(self._herd, place.queue, lambda: count(place.queue, jobs, wanted))
            return _Source(place, jobs, wanted, Cursor(), left)

        sets = [_from_cheap_end(jobs) for jobs in SETS[self._selection.state]]
        return list(await asyncio.gather(*(source(place, jobs) for place in found for jobs in sets)))

    async def _act_on_batch(self) -> bool:
        if self._selection.ids is not None:
            return await self._act_on_ids()
        if not self._sources:
            return False
        source = self._sources[0]
        place, most = source.place, _BATCH
        look_at = _BATCH if source.left is None else max(1, min(_BATCH, source.left))
        page = await asked(
            self._herd,
            place.queue,
            lambda: read_page(place.queue, source.jobs, source.wanted, source.cursor, look_at=look_at, most=most),
        )
        errors: Sequence[object] = page.jobs
        chosen = page.jobs
        if self._selection.is_searched:
            errors = await shown_errors(self._herd, place, page.jobs, self._shown)
            chosen = [job for job, error in zip(page.jobs, errors, strict=True) if matches(self._selection, error)]
        gone = await self._act_on(place, chosen)
        self._go_on(source, page, gone)
        return bool(self._sources)

    def _go_on(self, source: _Source, page: Page, gone: set[bytes]) -> None:
        if source.jobs.is_list:
            source.cursor = _anchor(source.cursor, page, gone)
        else:
            source.cursor = page.last if page.looked_at else source.cursor
        if source.left is not None:
            source.left -= page.looked_at
        if page.at_end or not page.looked_at or (source.left is not None and source.left <= 0):
            self._sources.pop(0)

    async def _act_on(self, place: Place, jobs: Sequence[FoundJob]) -> set[bytes]:
        """Act on some jobs; returns the ids of those that it was done with."""
        ids = [job.cursor.id for job in jobs]
        acted = await all_of(self._act_on_one(place, job_id) for job_id in ids)
        return {job_id for job_id, done in zip(ids, acted, strict=True) if done}

    async def _act_on_ids(self) -> bool:
        batch = self._ids[:_BATCH]
        found = await locate(self._herd, self._places, batch)
        await all_of(self._act_on_one(*found[each]) for each in batch if each in found)
        self._skipped += len(batch) - len(found)
        if len(found) < len(batch):
            self._problem("Nothing is stored of some ids: they ended, or never were.")
        del self._ids[:_BATCH]
        return bool(self._ids)

    async def _act_on_one(self, place: Place, job_id: bytes) -> bool:
        try:
            acted = await self._act(self._herd, place.queue, job_id)
        except ScriptError as error:
            self._problem(f"The queue {place.queue.keys.queue} refuses it ({str(error).rstrip('.')}); mend that key.")
            acted = Acted.SKIPPED
        except UnicodeDecodeError:
            self._problem(f"The queue {place.queue.keys.queue} has a job whose id is not UTF-8.")
            acted = Acted.SKIPPED
        if acted is Acted.TICK:
            self._problem("The next tick of a schedule is left; pause the schedule, or unschedule it.")
        if acted is Acted.DONE:
            self._done += 1
        else:
            self._skipped += 1
        return acted is Acted.DONE


def _from_cheap_end(jobs: JobSet) -> JobSet:
    """The order to act in: the oldest of a set first; and the head of a list, where BullMQ's scripts look for a job."""
    return replace(jobs, order="head" if jobs.is_list else "low")


def _anchor(before: Cursor, page: Page, gone: set[bytes]) -> Cursor:
    """The last job of a list's page that is still there, for the next page to find its place by."""
    there = [job.cursor for job in page.jobs if job.cursor.id not in gone]
    if page.other.id:
        there.append(page.other)
    return max(there, key=lambda cursor: int(cursor.at), default=before)
