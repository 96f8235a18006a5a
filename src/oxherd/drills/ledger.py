"""Records every emit of a drill and its result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum


class EmitResult(StrEnum):
    """How an emit ended."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # an EmitError: the event is not stored
    UNKNOWN = "unknown"  # an EmitError: the event may be stored


@dataclass(slots=True)
class Entry:
    """One emit; `at` is when it ended, in seconds since the Unix epoch."""

    id: str
    event: str
    result: EmitResult = EmitResult.PENDING
    at: float = 0.0


@dataclass(slots=True)
class Ledger:
    """Every emit of a drill, by id."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def record_emit(self, event_id: str, event: str) -> Entry:
        """Record an emit before it is sent."""
        entry = self.entries[event_id] = Entry(event_id, event)
        return entry

    def record_result(self, entry: Entry, result: EmitResult) -> None:
        """Record how an emit ended, now."""
        entry.result, entry.at = result, time.time()

    def ids(self, result: EmitResult) -> set[str]:
        """The ids of the emits that ended with `result`."""
        return {entry.id for entry in self.entries.values() if entry.result is result}
