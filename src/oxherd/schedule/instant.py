"""Instants of real time."""

from __future__ import annotations

from datetime import UTC, datetime

from oxherd.errors import ScheduleError


def instant_of(after: datetime) -> datetime:
    """An aware datetime in UTC; raises ScheduleError for a naive one, or one outside the years 1 to 9999."""
    if after.utcoffset() is None:
        raise ScheduleError("A naive datetime has no next tick: pass one with a zone, such as datetime.now(UTC).")
    try:
        return after.astimezone(UTC)
    except OverflowError:
        raise ScheduleError("This datetime is too far out: ask from a time well inside the years 1 to 9999.") from None
