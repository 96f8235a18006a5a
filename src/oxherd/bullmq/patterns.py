"""Reads the cron patterns and time zones that Node's BullMQ takes, in cron-parser's dialect."""

from __future__ import annotations

import re
from functools import cache
from zlib import crc32
from zoneinfo import available_timezones

from oxherd.errors import ScheduleError
from oxherd.schedule import Cron

_NAMED = {
    "@minutely": "* * * * *",
    "@secondly": "* * * * * *",
    "@weekdays": "0 0 * * 1-5",
    "@weekends": "0 0 * * 0,6",
}
_LEFT_OUT = ("0", "*", "*", "*", "*", "*")
# Every month has a day 28.
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
_HASHED = re.compile(r"H(?:\((\d{1,2})-(\d{1,2})\))?(?:/(\d{1,2}))?")


def read_pattern(pattern: str, tz: str, name: str) -> Cron:
    """The cron expression of a pattern; `H` is a value that `name` decides, where cron-parser takes one at random.

    Raises:
        ScheduleError: it cannot be read.
    """
    fields = _NAMED.get(pattern, pattern).split()
    if fields and len(fields) < len(_LEFT_OUT) and not pattern.startswith("@"):
        fields = [*_LEFT_OUT[: len(_LEFT_OUT) - len(fields)], *fields]
    if "H" in pattern and len(fields) == len(_RANGES):
        fields = [_hashed(field, *limits, name) for field, limits in zip(fields, _RANGES, strict=True)]
    try:
        return Cron(" ".join(fields), tz)
    except ScheduleError:
        zone = _zones().get(tz.lower(), tz)
        if zone == tz:
            raise
    return Cron(" ".join(fields), zone)


def _hashed(field: str, least: int, most: int, name: str) -> str:
    def value(found: re.Match[str]) -> str:
        low, high = (int(found[1]), int(found[2])) if found[1] else (least, most)
        step = int(found[3] or 0)
        chosen = low + crc32(name.encode()) % max(1, min(step or high, high - low + 1))
        return f"{chosen}-{high}/{step}" if step else str(chosen)

    return _HASHED.sub(value, field)


@cache
def _zones() -> dict[str, str]:
    """The names of time zones by their lower case, since JavaScript takes either."""
    return {name.lower(): name for name in available_timezones()}
