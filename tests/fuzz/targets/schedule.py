"""Cron expressions, time zones and intervals: a ScheduleError, or increasing ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from oxherd.errors import ScheduleError
from oxherd.schedule import Cron, Every
from tests.fuzz.oracle import in_time, only
from tests.fuzz.source import Source

_FIELDS = (
    "*", "0", "*/15", "1-5", "5-1", "0-59/7", "59", "60", "*/0", "L", "LW", "1W", "MON", "MON#5", "5L", "2#6",
    "JAN-MAR", "29", "30", "31", "2", "0,30", ",", "-", "/", "#", "*/99999999999", "1/2/3", "?", "٣",
    "999999999999999999999",
)  # fmt: skip
_ZONES = (
    "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Antarctica/Troll", "Europe",
    "../../etc/passwd", "/etc/localtime", "", "\0", "Europe/Pariss", "a" * 100_000, "Europe/Paris" * 2_000, "\ud800",
    "Asia/Kolkata\n",
)  # fmt: skip
_RIGHT = ("* * * * *", "*/7 1-3 * * MON", "30 2 29 2 *", "0 0 L * *", "*/20 59 23 31 12 *")
_TIMES = (
    datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2096, 2, 29, 23, 59, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
)


@in_time
def cron(data: bytes) -> None:
    """Any expression in any zone."""
    source = Source(data, _FIELDS)
    fields = (
        source.choose(_FIELDS) if source.below(8) else source.text() for _ in range(source.choose((5, 6, 5, 4, 7)))
    )
    made = " ".join(fields)
    expression = source.choose((made, made, source.choose(_RIGHT), source.text()))
    zone = source.choose(_ZONES) if source.below(4) else source.text()
    after = source.choose(_TIMES[:3]) - timedelta(hours=source.below(24)) if source.flag() else source.choose(_TIMES)
    with only(ScheduleError, hides=()):  # a schedule is no payload, and is quoted
        _goes_forward(expression, zone, after)


def _goes_forward(expression: str, zone: str, after: datetime) -> None:
    schedule = Cron(expression, zone)
    for _ in range(3):
        tick = schedule.next(after)
        assert tick.tzinfo is not None
        assert tick.astimezone(UTC) > after.astimezone(UTC)
        after = tick


@in_time
def every(data: bytes) -> None:
    """Any interval."""
    source = Source(data)
    try:
        seconds = float(source.number()) if source.flag() else int(source.number())
    except (ValueError, OverflowError):
        return
    with only(ScheduleError, hides=()):
        assert Every(seconds).next(_TIMES[0]) > _TIMES[0]
