"""Validated values that say how an event is treated: retries, what is kept, how long things may take."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from oxherd.errors import DeclarationError

Seconds = float | int | timedelta

_LARGEST = 2**53 - 1
_LONGEST_WAIT_MS = 100 * 366 * 86_400_000  # a century, before BullMQ's scores lose their last digits


def seconds(value: Seconds, what: str, *, least: float = 0.0, most: float = math.inf) -> float:
    """`value` in seconds.

    Raises:
        DeclarationError: it is not a finite number or timedelta from `least` to `most` seconds; `what` names it.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < least:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all type-checked
        raise DeclarationError(f"{what} must be a number of seconds or a timedelta of at least {least:g}.")
    if number > most:
        raise DeclarationError(f"{what} must be at most {most:,.0f} seconds.")
    return float(number)


def whole(value: int, what: str, *, least: int, most: int | None = None) -> int:
    """`value`, a whole number within bounds, or a DeclarationError that names `what`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):  # pyright: ignore[reportUnnecessaryIsInstance]
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise DeclarationError(f"{what} must be a whole number {bounds}.")
    return value


@dataclass(frozen=True)
class Retry:
    """How often an event is tried, and how long it waits in between.

    The wait before attempt n+1 is `delay` seconds, doubled for each attempt after the first when `backoff` is
    "exponential" (the default), at most `max_delay` seconds; `jitter` (0 to 1) is the part of it that is random.
    Stored as BullMQ's `attempts` and `backoff` options, so that Node's workers retry alike.

    Raises:
        DeclarationError: attempts below 1, a negative delay, a jitter outside 0 to 1, an unknown backoff.
    """

    attempts: int = 3
    delay: Seconds = 1.0
    backoff: Literal["exponential", "fixed"] = "exponential"
    max_delay: Seconds = 3600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        whole(self.attempts, "Retry.attempts", least=1)
        object.__setattr__(self, "delay", seconds(self.delay, "Retry.delay"))
        object.__setattr__(self, "max_delay", seconds(self.max_delay, "Retry.max_delay"))
        if self.backoff not in ("exponential", "fixed"):
            raise DeclarationError("Retry.backoff must be 'exponential' or 'fixed'.")
        if not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("Retry.jitter must be a number from 0 to 1.")
        # Redis writes 14 digits: what is read back must equal what is declared.
        object.__setattr__(self, "jitter", round(self.jitter, 6))

    @property
    def options(self) -> dict[str, Any]:
        """The options of BullMQ that say the same."""
        delay = round(float(self.delay) * 1000)  # pyright: ignore[reportArgumentType] - seconds() made it a float
        return {"attempts": self.attempts, "backoff": {"type": self.backoff, "delay": delay, "jitter": self.jitter}}


def backoff_ms(backoff: Any, attempts_made: int, max_delay: float | None) -> int:
    """Milliseconds to wait after `attempts_made` failed attempts, by a job's `backoff` option (BullMQ's `Backoffs`).

    `max_delay` is in seconds. An option of an unknown shape or type counts as no wait; none is longer than a century.
    """
    plain = number(backoff)
    if plain is not None:
        return _wait_ms(plain)
    if not isinstance(backoff, dict):
        return 0
    option: dict[str, Any] = backoff  # pyright: ignore[reportUnknownVariableType]
    delay, jitter = number(option.get("delay", 0)), number(option.get("jitter") or 0)
    if delay is None or jitter is None:
        return 0
    if option.get("type") == "exponential":
        delay *= 2.0 ** min(max(attempts_made, 1) - 1, 60)
    if max_delay is not None:
        delay = min(delay, max_delay * 1000)
    spread = random.random() * min(max(jitter, 0), 1)  # noqa: S311 - spreads retries, keeps no secret
    return _wait_ms(delay * (1 - spread))


def _wait_ms(delay: float) -> int:
    return int(min(max(delay, 0), _LONGEST_WAIT_MS))


def number(value: Any) -> float | int | None:
    """A number from JSON that another program wrote, within what Lua counts exactly; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN is none
        return None
    return min(max(value, -_LARGEST), _LARGEST)


@dataclass(frozen=True)
class Keep:
    """How many finished events stay in Redis, and for how long; None means without that bound.

    `completed` and `failed` are counts, `completed_for` and `failed_for` seconds or timedeltas. Stored as BullMQ's
    `removeOnComplete` and `removeOnFail`; the options that a job brings win.

    Raises:
        DeclarationError: a negative count or age.
    """

    completed: int | None = 0
    failed: int | None = 10_000
    completed_for: Seconds | None = None
    failed_for: Seconds | None = timedelta(days=14)

    def __post_init__(self) -> None:
        for name in ("completed", "failed"):
            value = getattr(self, name)
            if value is not None:
                whole(value, f"Keep.{name}", least=0)
        for name in ("completed_for", "failed_for"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, seconds(value, f"Keep.{name}"))

    @property
    def options(self) -> dict[str, Any]:
        """The options of BullMQ that say the same."""
        return {
            "removeOnComplete": _bound(self.completed, self.completed_for),
            "removeOnFail": _bound(self.failed, self.failed_for),
        }


def _bound(count: int | None, age: Any) -> dict[str, int]:
    if count == 0:
        return {"count": 0}
    bound = {"count": -1 if count is None else count}
    if age is not None:
        bound["age"] = math.ceil(age)
    return bound


def kept(option: Any) -> dict[str, int] | None:
    """BullMQ's `keepJobs` for a `removeOnComplete` or `removeOnFail` option; None when the job brings none."""
    if option is None:
        return None
    if isinstance(option, bool):
        return {"count": 0 if option else -1}
    if isinstance(option, dict):
        bounds: dict[str, Any] = {key: option[key] for key in ("count", "age", "limit") if key in option}  # pyright: ignore[reportUnknownVariableType]
    else:
        bounds = {"count": option}
    numbers = {key: number(value) for key, value in bounds.items()}
    return (
        {key: int(value) for key, value in numbers.items() if value is not None}
        if None not in numbers.values()
        else None
    )
