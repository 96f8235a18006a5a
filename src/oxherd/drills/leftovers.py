"""What a drill leaves in Redis: events by state, and keys that should be gone."""

from __future__ import annotations

from dataclasses import dataclass, field

from oxherd.app import Oxherd
from oxherd.bullmq.inspection import stored_keys, stored_states
from oxherd.bullmq.queue import BullQueue

# A queue's own keys, which do not grow with its events.
_OWN = frozenset({"meta", "id", "events", "marker", "stalled-check", "stalled", "pc", "failed", "completed", "repeat"})
_PASSING = ("de:", "repeat:")  # marks, which end by themselves, and schedules
_BUSY = frozenset({"wait", "active", "delayed", "prioritized"})


@dataclass(slots=True)
class Remains:
    """The events that are still stored, by state, and the keys that nobody needs."""

    stored: dict[str, str] = field(default_factory=dict[str, str])
    keys: list[str] = field(default_factory=list[str])

    @property
    def busy(self) -> bool:
        """Whether something waits or runs."""
        return any(state in _BUSY for state in self.stored.values())


async def remains(herd: Oxherd) -> Remains:
    """Look at every queue of a herd."""
    found = Remains()
    for queue in await _queues(herd):
        states = await stored_states(queue)
        found.stored.update(states)
        for key in await stored_keys(queue):
            # A failed event is kept on purpose; a lock of it, or one that no state knows, is left over.
            held = states.get(key.removesuffix(":lock")) in _BUSY
            if not (key in _OWN or key in _BUSY or key in states or held or key.startswith(_PASSING)):
                found.keys.append(key)
    return found


async def remove_all(herd: Oxherd) -> None:
    """Take everything of the drill out of a server that is not its own."""
    for queue in await _queues(herd):
        for key in await stored_keys(queue):
            await queue.client.call(queue.keys.slot, "DEL", queue.keys.base + key)


async def _queues(herd: Oxherd) -> list[BullQueue]:
    backend = await herd.backend()
    return list({queue.keys.queue: queue for queue in (backend.queue(event.declaration) for event in herd)}.values())
