"""Finds the queue of events of which only the ids are known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from oxherd.admin.target import Herd, Place, asked
from oxherd.bullmq.job_sets import SETS, newest_ids

_DERIVED = 5
_NEWEST = 10_000


class Located(NamedTuple):
    """A stored job."""

    place: Place
    job_id: bytes


async def locate(herd: Herd, places: Sequence[Place], ids: Iterable[UUID]) -> dict[UUID, Located]:
    """Where events are stored, by their ids. Command: EXISTS, for each id and queue.

    One whose id is derived is looked for among the newest 10,000 of each state. Commands: LRANGE, ZRANGE.
    """
    wanted = list(ids)
    found: dict[UUID, Located] = {}

    async def look(place: Place, event_id: UUID) -> None:
        if await asked(herd, place.queue, lambda: place.queue.holds(str(event_id))):
            found.setdefault(event_id, Located(place, str(event_id).encode()))

    await asyncio.gather(*(look(place, event_id) for place in places for event_id in wanted))
    derived = {event_id for event_id in wanted if event_id not in found and event_id.version == _DERIVED}
    if derived:
        found |= await _locate_derived(herd, places, derived)
    return {event_id: each for event_id, each in found.items() if await _is_meant(herd, each)}


async def _is_meant(herd: Herd, located: Located) -> bool:
    """Whether a job of a queue that events share is of the event that was asked for. Command: HGET."""
    place = located.place
    if not place.name:
        return True
    k, call = place.queue.keys, place.queue.client.call
    key = k.base.encode() + located.job_id
    name = await asked(herd, place.queue, lambda: call(k.slot, "HGET", key, "name"))
    return name == place.name.encode()


async def _locate_derived(herd: Herd, places: Sequence[Place], wanted: set[UUID]) -> dict[UUID, Located]:
    found: dict[UUID, Located] = {}
    for place in places:
        for jobs in (each for sets in SETS.values() for each in sets):
            ids = await asked(herd, place.queue, lambda q=place.queue, s=jobs: newest_ids(q, s, _NEWEST))
            for job_id in ids:
                event_id = place.event_id(job_id)
                if event_id in wanted:
                    found[event_id] = Located(place, job_id)
        if len(found) == len(wanted):
            break
    return found
