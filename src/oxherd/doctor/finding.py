"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and what to do: a line each.

    Attributes:
        check: the name of the check that found it.
        remedy: what to do on a command line.
        advice: what to do, for a reader who has none; "" where the remedy names no command.
        event, queue, example: what it is about: an event, a queue that no event has, one of the events that it is
            seen by.
    """

    check: str
    what: str
    remedy: str
    advice: str = ""
    event: str | None = None
    queue: str | None = None
    example: UUID | None = None
