"""Times, durations and rates as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from oxherd.errors import UsageError
from oxherd.limits import Rate

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
# (from so many seconds on, the unit's seconds, its sign)
_SIZES = ((172_800, 86_400, "d"), (7_200, 3600, "h"), (120, 60, "m"))


def parse_moment(text: str, option: str) -> datetime | timedelta:
    """The moment that an option names: so long ago (`15m`, `2h`, `7d`), or a date or time (`2030-01-31T09:00`).

    One without a time zone is this machine's.

    Raises:
        UsageError: it is neither.
    """
    found = _AGO.fullmatch(text)
    try:
        if found:
            return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} is so long ago, such as 15m, 2h or 7d, or a time such as 2030-01-31T09:00; "
            "without a time zone it is this machine's."
        ) from None


def duration(seconds: float | None) -> str:
    """A duration in one unit, or "" for None: `3 ms`, `42 s`, `5 m`, `3 h`, `12 d`."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for least, unit, sign in _SIZES:
        if seconds >= least:
            return f"{seconds / unit:,.0f} {sign}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago a moment was, or in how long it will be; "" for None."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def clock(moment: datetime | None) -> str:
    """A moment by this machine's clock and time zone, to the second; "" for None."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def describe_rate(rate: Rate | None) -> str:
    """A rate in words."""
    return "no limit" if rate is None else f"{rate.count:,} begun in {rate.per_ms / 1000:g} s"
