"""Fixed intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from oxherd.errors import ScheduleError
from oxherd.schedule.instant import instant_of

_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Every:
    """A fixed interval in seconds, with a tick at each multiple of it since the Unix epoch.

    >>> Every(timedelta(minutes=1)) == Every(60)
    True
    """

    milliseconds: int

    def __init__(self, seconds: float | int | timedelta) -> None:
        object.__setattr__(self, "milliseconds", _to_milliseconds(seconds))

    def next(self, after: datetime) -> datetime:
        """The first tick strictly after an aware datetime, as an aware datetime in UTC."""
        elapsed = (instant_of(after) - _EPOCH) // _MILLISECOND
        tick = (elapsed // self.milliseconds + 1) * self.milliseconds
        try:
            return _EPOCH + timedelta(milliseconds=tick)
        except OverflowError:
            raise ScheduleError(
                f"{self!r} has no tick after {after.year} that a datetime can hold: use a shorter interval."
            ) from None

    def __repr__(self) -> str:
        whole, rest = divmod(self.milliseconds, 1000)
        return f"Every({whole})" if not rest else f"Every({self.milliseconds / 1000!r})"


def _to_milliseconds(seconds: float | timedelta) -> int:
    exact = True
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ScheduleError("An interval is a number of seconds or a timedelta, such as Every(60) or Every(0.25).")
    if isinstance(seconds, timedelta):
        milliseconds, rest = divmod(seconds, _MILLISECOND)
        exact, seconds = not rest, seconds.total_seconds()
    elif isinstance(seconds, int):
        milliseconds = seconds * 1000
    elif math.isfinite(seconds * 1000):
        # Rounded, because 1.1 * 1000 is not 1100 in binary floating point.
        milliseconds = round(seconds * 1000)
        exact = math.isclose(seconds * 1000, milliseconds, rel_tol=1e-9)
    else:
        milliseconds = 0
    if milliseconds > _LONGEST:
        raise ScheduleError("An interval cannot reach past the year 9999: give it in seconds, such as Every(60).")
    if not exact or milliseconds < 1:
        raise ScheduleError(
            f"An interval cannot be {seconds} seconds: give a whole number of milliseconds, at least 0.001 seconds, "
            "such as Every(60) or Every(0.25)."
        )
    return milliseconds
