"""Finds what a drill leaves in Redis: stored events by state, and keys that should be gone."""

from __future__ import annotations

from dataclasses import dataclass, field

from oxherd.app import Oxherd
from oxherd.bullmq.inspection import stored_keys, stored_states
from oxherd.bullmq.queue import BullQueue

# A queue's own keys, which do not grow with its events.
_QUEUE_KEYS = frozenset(
    {"meta", "id", "events", "marker", "stalled-check", "stalled", "pc", "failed", "completed", "repeat"}
)
_KEPT_PREFIXES = ("de:", "worker:", "history:", "repeat:")  # the first three expire; schedules
_UNFINISHED = frozenset({"wait", "active", "delayed", "prioritized"})


@dataclass(slots=True)
class Leftovers:
    """The states of the events that are still stored, and the keys that should be gone."""

    states: dict[str, str] = field(default_factory=dict[str, str])
    keys: list[str] = field(default_factory=list[str])

    @property
    def unfinished(self) -> bool:
        """Whether an event waits or runs."""
        return any(state in _UNFINISHED for state in self.states.values())


async def find_leftovers(herd: Oxherd) -> Leftovers:
    """Look at every queue of a herd."""
    found = Leftovers()
    for queue in await _queues(herd):
        states = await stored_states(queue)
        found.states.update(states)
        for key in await stored_keys(queue):
            # A failed event is kept; its lock, or that of an unknown event, should be gone.
            locked = states.get(key.removesuffix(":lock")) in _UNFINISHED
            expected = key in _QUEUE_KEYS or key in _UNFINISHED or key in states or locked
            if not expected and not key.startswith(_KEPT_PREFIXES):
                found.keys.append(key)
    return found


async def remove_all(herd: Oxherd) -> None:
    """Remove all of the drill's keys from a server that belongs to the user."""
    for queue in await _queues(herd):
        for key in await stored_keys(queue):
            await queue.client.call(queue.keys.slot, "DEL", queue.keys.base + key)


async def _queues(herd: Oxherd) -> list[BullQueue]:
    backend = await herd.backend()
    return list({queue.keys.queue: queue for queue in (backend.queue(event.declaration) for event in herd)}.values())
