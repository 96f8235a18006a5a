"""Cron expressions, with their ticks through clock changes.

cronsim parses the fields, once for each expression, and says which days match; this module walks the calendar in naive
local times, in bounded time. It decides what a clock change does to a tick, so that a schedule's ticks are one fixed
set of instants, wherever the search starts:

- A local time that a clock change skips runs once, at the first time that exists after it.
- A local time that occurs twice runs at its first occurrence only.
- A pattern that repeats within the day (`*`, `*/n`, `m/n` or the full range in its seconds, minutes or hours) follows
  real time. It runs in both occurrences. A skipped tick counts as run if its instant is also a tick by the new clock:
  `30 * * * *` goes from 01:30 to 03:30, one hour later.
"""

from __future__ import annotations

import calendar
import difflib
import re
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from oxherd.errors import ScheduleError
from oxherd.schedule.instant import instant_of

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ALLOWED: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L or LW",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT, Sunday being 0 or 7",
}
_LONGEST_EXPRESSION: Final = 256
# The rarest date, a Feb 29 on a given weekday, recurs within 40 years.
_MOST_MONTHS: Final = 50 * 12
_LONGEST_ZONE: Final = 64
_NEVER: Final = "never matches a date"
_REPEATING: Final = re.compile(r"\*|\d+/|0-(59|23)\b")
_EXAMPLE: Final = "write for example '30 2 * * *' for 02:30 every day, or '*/15 * * * *' for every 15 minutes"


@dataclass(frozen=True, slots=True, init=False)
class Cron:
    """A cron expression in a time zone: minute, hour, day of month, month, day of week; or six with seconds first.

    `tz` is a zone's name, or a ZoneInfo, of which the name is kept.

    >>> Cron("0 2 * * *", tz="Europe/Paris")
    Cron(expression='0 2 * * *', tz='Europe/Paris')
    """

    expression: str
    tz: str

    def __init__(self, expression: str, tz: str | tzinfo = "UTC") -> None:
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "tz", _zone_name(tz))
        if not isinstance(expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ScheduleError(f"A cron expression is a str: {_EXAMPLE}.")
        _pattern(expression)
        _zone(self.tz)

    def next(self, after: datetime) -> datetime:
        """The first tick strictly after an aware datetime, as an aware datetime in this schedule's zone."""
        start = instant_of(after)
        try:
            return self._next(start).astimezone(_zone(self.tz))
        except (OverflowError, ValueError, _NoTickError):
            raise ScheduleError(
                f"The cron expression {_quote(self.expression)} has no tick near the year {start.year} that a datetime "
                "can hold: ask from a time well inside the years 1 to 9999."
            ) from None

    def _next(self, start: datetime) -> datetime:
        zone, pattern = _zone(self.tz), _pattern(self.expression)
        wall = start.astimezone(zone).replace(tzinfo=None, fold=0, microsecond=0)
        fold = _change(wall, zone)
        if fold is None:
            return _first_pass(pattern, zone, wall)

        begin, end = _wall(fold.at, fold.after), _wall(fold.at, fold.before)
        repeating = start >= fold.at
        tick = _first_pass(pattern, zone, end - _SECOND if repeating else wall)
        if pattern.repeats:
            again = pattern.after(wall if repeating else begin - _SECOND)
            if again < end:
                tick = min(tick, _instant(again, fold.after))
        return tick


class _NoTickError(Exception):
    """No date matches."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """An expression that cronsim accepts, in local times: sorted seconds, minutes and hours; months and days."""

    seconds: list[int]
    minutes: list[int]
    hours: list[int]
    months: frozenset[int]
    is_day: Callable[[date], bool]
    repeats: bool
    _days: dict[tuple[int, int], list[int]] = field(default_factory=dict[tuple[int, int], list[int]])

    def after(self, wall: datetime) -> datetime:
        """The first matching local time strictly after `wall`. Raises _NoTickError."""
        day = wall.date()
        clock = self._clock_after(wall) if self._day_from(day) == day else None
        if clock is None:
            day = self._day_from(day + timedelta(days=1))
            clock = time(self.hours[0], self.minutes[0], self.seconds[0])
        return datetime.combine(day, clock)

    def matches(self, wall: datetime) -> bool:
        return (
            wall.second in self.seconds
            and wall.minute in self.minutes
            and wall.hour in self.hours
            and self._day_from(wall.date()) == wall.date()
        )

    def _clock_after(self, wall: datetime) -> time | None:
        """The first matching time of a day after that of `wall`."""
        if wall.hour in self.hours:
            if wall.minute in self.minutes and (at := bisect(self.seconds, wall.second)) < len(self.seconds):
                return time(wall.hour, wall.minute, self.seconds[at])
            if (at := bisect(self.minutes, wall.minute)) < len(self.minutes):
                return time(wall.hour, self.minutes[at], self.seconds[0])
        if (at := bisect(self.hours, wall.hour)) < len(self.hours):
            return time(self.hours[at], self.minutes[0], self.seconds[0])
        return None

    def _day_from(self, day: date) -> date:
        """The first matching day from `day` on."""
        year, month, least = day.year, day.month, day.day
        for _ in range(_MOST_MONTHS):
            if month in self.months:
                days = self._days_of(year, month)
                if (at := bisect(days, least - 1)) < len(days):
                    return date(year, month, days[at])
            least, month = 1, month % 12 + 1
            year += month == 1
        raise _NoTickError

    def _days_of(self, year: int, month: int) -> list[int]:
        # Which days match depends on the month's length and first weekday alone.
        kind = calendar.monthrange(year, month)
        days = self._days.get(kind)
        if days is None:
            days = [day for day in range(1, kind[1] + 1) if self.is_day(date(year, month, day))]
            self._days[kind] = days
        return days


@dataclass(frozen=True, slots=True)
class _Change:
    """A clock change: its instant, and the offsets from UTC on both sides of it."""

    at: datetime
    before: timedelta
    after: timedelta


def _first_pass(pattern: _Pattern, zone: ZoneInfo, wall: datetime) -> datetime:
    """The instant of the first tick after a local time, ignoring second occurrences."""
    while True:
        wall = pattern.after(wall)
        change = _change(wall, zone)
        if change is None or change.before > change.after:
            return wall.replace(tzinfo=zone).astimezone(UTC)
        gap, gap_ends = change.after - change.before, _wall(change.at, change.after)
        if not pattern.repeats or pattern.matches(gap_ends):
            return change.at
        while wall < gap_ends:
            if not pattern.matches(wall + gap):
                return change.at
            # By a gap of whole minutes, the minute's other ticks match as well.
            wall = pattern.after(wall if gap % _MINUTE else min(wall.replace(second=59), gap_ends - _SECOND))
        wall -= _SECOND


def _change(wall: datetime, zone: ZoneInfo) -> _Change | None:
    """The clock change that skips or repeats a local time, if any."""
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first == second:
        return None
    naive = wall.replace(tzinfo=UTC)
    low, high = sorted((first, second))
    after = high.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return _Change(at=high, before=naive - first, after=naive - second)


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return instant.replace(tzinfo=None) + offset


def _instant(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)


def plain_expression(expression: str) -> str:
    """An expression as cronsim reads it: names such as `@daily` as fields, and `?`, as in other dialects, as `*`."""
    *clock, day, month, weekday = ["", "", "", *_NAMED.get(expression.strip().lower(), expression).split()]
    return " ".join([*clock, day.replace("?", "*"), month, weekday.replace("?", "*")]).strip()


@lru_cache(maxsize=1024)
def _pattern(expression: str) -> _Pattern:
    if len(expression) > _LONGEST_EXPRESSION:
        size = f"cannot be read, at {len(expression)} characters"
        raise ScheduleError(f"The cron expression {_quote(expression)} {size}: {_EXAMPLE}.")
    fields = plain_expression(expression)
    if fields.startswith("@"):
        raise ScheduleError(
            f"The cron expression {_quote(expression)} is not a known name: use one of {', '.join(_NAMED)}."
        )
    try:
        parsed = CronSim(fields, datetime(2000, 1, 1))
        pattern = _Pattern(
            sorted(parsed.seconds),
            sorted(parsed.minutes),
            sorted(parsed.hours),
            frozenset(parsed.months),
            parsed.match_day,
            _repeats(fields),
        )
        pattern.after(parsed.dt)
    except _NoTickError:
        raise ScheduleError(f"The cron expression {_quote(expression)} {_NEVER}: {_EXAMPLE}.") from None
    except (CronSimError, ValueError) as error:
        raise ScheduleError(
            f"The cron expression {_quote(expression)} {_problem(fields, error)}: {_EXAMPLE}."
        ) from None
    return pattern


def _repeats(fields: str) -> bool:
    clock = fields.split()[:-3]
    return any(_REPEATING.match(field) for field in clock)


def _problem(fields: str, error: Exception) -> str:
    """What is wrong with the fields, by cronsim's error, such as `Bad minute`."""
    split = fields.split()
    if len(split) not in {5, 6}:
        return f"does not have 5 fields, or 6 with the seconds first, but {len(split)}"
    name = str(error).removeprefix("Bad ")
    if name == "day-of-month" and _is_valid(" ".join([*split[:-2], "*", split[-1]])):
        return _NEVER
    return f"has an invalid {name} (allowed: {_ALLOWED[name]})" if name in _ALLOWED else "cannot be read"


def _is_valid(fields: str) -> bool:
    try:
        CronSim(fields, datetime(2000, 1, 1))
    except (CronSimError, ValueError):
        return False
    return True


def _zone_name(tz: str | tzinfo) -> str:
    name = "UTC" if tz is UTC else tz.key if isinstance(tz, ZoneInfo) else tz
    if not isinstance(name, str):
        raise ScheduleError("tz must be a time zone's name, such as 'Europe/Paris', or a ZoneInfo made of one.")
    return name


@lru_cache(maxsize=256)
def _zone(tz: str) -> ZoneInfo:
    near = ""
    try:
        if len(tz) <= _LONGEST_ZONE:
            return ZoneInfo(tz)
    except (KeyError, ValueError, OSError):  # a folder's name raises OSError, a file that is no zone ValueError
        near = " or ".join(map(repr, _similar(tz)))
    remedy = f"did you mean {near}?" if near else "use a name such as 'Europe/Paris' or 'UTC'."
    raise ScheduleError(f"There is no time zone {_quote(tz)}: {remedy}")


def _similar(tz: str) -> list[str]:
    by_text: dict[str, str] = {}  # by full name, and by city alone
    for name in sorted(available_timezones()):
        by_text.setdefault(name.rpartition("/")[2].lower(), name)
        by_text[name.lower()] = name
    close = difflib.get_close_matches(tz.lower().replace(" ", "_"), by_text, n=3, cutoff=0.7)
    return list(dict.fromkeys(by_text[match] for match in close))


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
