"""What is known of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from oxherd.schedule import When


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as Redis has it.

    Attributes:
        when: a `Cron` or an `Every`; the pattern as it is stored, where another program wrote one of neither kind.
        declared: whether it stands in code, as `schedules=`.
        next: its next tick, which may be due; None while it is paused.
        last: the last tick that a worker of ours has begun; None if none has, or that is forgotten.
        payload: what the log may show of it, or None.
    """

    name: str
    when: When | str
    declared: bool
    paused: bool
    next: datetime | None
    last: datetime | None
    payload: Any
