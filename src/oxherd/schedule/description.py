"""Says in words when a schedule ticks."""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError

from oxherd.schedule.cron import Cron, plain_expression
from oxherd.schedule.every import Every

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))
_ANY_TIME = datetime(2001, 1, 1)


def described(when: Cron | Every | str) -> str:
    """When a schedule ticks, such as `At 02:00 every day`; of another program's pattern, the pattern."""
    if isinstance(when, Cron):
        return _cron(when.expression)
    if isinstance(when, Every):
        for unit, name in _UNITS:
            count, rest = divmod(when.milliseconds, unit)
            if not rest:
                return f"Every {name}" if count == 1 else f"Every {count:,} {name}s"
        return f"Every {when.milliseconds:,} ms"
    return when


def _cron(expression: str) -> str:
    try:
        return CronSim(plain_expression(expression), _ANY_TIME).explain()
    except CronSimError:  # what it reads but cannot put into words
        return expression
