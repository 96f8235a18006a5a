"""Times as they are stored, and as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(ms: int) -> datetime | None:
    """An aware datetime of milliseconds since the Unix epoch; None for 0."""
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None


def seconds_since(ms: int, now_ms: int) -> float | None:
    """How long ago that was, at least 0; None for 0."""
    return max(0, now_ms - ms) / 1000 if ms else None
