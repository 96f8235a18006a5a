"""What was emitted, and what became of each emit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum


class Answer(StrEnum):
    """What an emit was told."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # an error that says: it is not stored
    UNKNOWN = "unknown"  # an error that says: it may be stored


@dataclass(slots=True)
class Entry:
    """One emit; `at` is when it was answered, in seconds since the Unix epoch."""

    id: str
    event: str
    answer: Answer = Answer.PENDING
    at: float = 0.0


@dataclass(slots=True)
class Ledger:
    """Every emit of a drill, by id."""

    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def emitting(self, event_id: str, event: str) -> Entry:
        """Note that an event is about to be emitted."""
        entry = self.entries[event_id] = Entry(event_id, event)
        return entry

    def answered(self, entry: Entry, answer: Answer) -> None:
        """Note what the emit was told."""
        entry.answer, entry.at = answer, time.time()

    def ids(self, answer: Answer) -> set[str]:
        """The ids of the emits that were told so."""
        return {entry.id for entry in self.entries.values() if entry.answer is answer}
