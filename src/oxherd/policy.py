"""Retry and keep policies, and checks of durations and counts."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeGuard

from oxherd.errors import DeclarationError

Seconds = float | int | timedelta

# The option of a job that expires: ours, among BullMQ's.
EXPIRES = "ox:expires"

MAX_SECONDS = 100 * 365.25 * 86_400.0  # a century: beyond, BullMQ's scores lose their last digits
MAX_VERSION = 64
_MOST = 1_000_000_000  # of anything that is counted; Lua writes 14 digits
_LARGEST = 2**53 - 1  # what Lua counts exactly
_LONGEST_WAIT_MS = 100 * 366 * 86_400_000  # a century: BullMQ's scores would lose digits beyond it


def seconds(value: Seconds, what: str, *, least: float = 0.0) -> float:
    """Check a duration, and convert it to seconds.

    Raises:
        DeclarationError: it is no number or timedelta from `least` seconds to a century; the message names `what`.
    """
    if isinstance(value, datetime):
        raise DeclarationError(f"{what} is a duration, not a moment: give a number of seconds or a timedelta.")
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= least:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all type-checked
        raise DeclarationError(f"{what} must be a number of seconds or a timedelta of at least {least:g}.")
    if number > MAX_SECONDS:
        raise DeclarationError(f"{what} must be at most {MAX_SECONDS:,.0f} seconds, a century.")
    return float(number)


def whole_number(value: int, what: str, *, least: int, most: int = _MOST) -> int:
    """Check a whole number; raises a DeclarationError that names `what` if it is out of bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:  # pyright: ignore[reportUnnecessaryIsInstance]
        bounds = f"of at least {least:,}, and at most" if most == _MOST else f"from {least:,} to"
        raise DeclarationError(f"{what} must be a whole number {bounds} {most:,}.")
    return value


def takes_one_argument(function: Callable[..., object]) -> bool:
    """Whether a function can be called with one argument, as far as its signature tells."""
    return _takes(function, None)


def check_key_function(what: str, function: Any) -> None:
    """Refuse what cannot compute a payload's key; raises a DeclarationError that names `what`."""
    # An object whose __call__ is async is no coroutine function itself.
    if not callable(function) or any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
        raise DeclarationError(f"{what} must be a plain function of the payload, not an async def.")
    if not takes_one_argument(function):
        raise DeclarationError(f"{what} must be a function of one argument, the payload.")


def _takes(function: Callable[..., object], *arguments: None) -> bool:
    try:
        parameters = inspect.signature(function)
    except ValueError:  # of a builtin
        return True
    try:
        parameters.bind(*arguments)
    except TypeError:
        return False
    return True


def text(value: str, what: str) -> str:
    """Check that UTF-8 can hold a text; raises a DeclarationError that names `what`."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DeclarationError(f"{what} must be a text without lone surrogates.") from None
    return value


def is_short_text(value: object, most: int) -> TypeGuard[str]:
    """Whether a value is a text of 1 to `most` characters that can be shown on one line."""
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def version_text(value: str | None) -> str | None:
    """Check an application's version; raises DeclarationError."""
    if value is not None and not is_short_text(value, MAX_VERSION):
        raise DeclarationError(
            f"version must be a printable text of 1 to {MAX_VERSION} characters, such as '1.4.2', or None."
        )
    return value


def boolean(value: bool, what: str) -> bool:
    """Check a bool; raises a DeclarationError that names `what`."""
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{what} must be True or False.")
    return value


ErrorClasses = type[BaseException] | tuple[type[BaseException], ...]
# The number of the attempt that has failed, from 1, and what it raised.
Backoff = Callable[[int, BaseException], Seconds]


@dataclass(frozen=True)
class Retry:
    """How often an event is attempted, after which errors, and the delay in between.

    The first delay is `delay` seconds; each further one is twice as long if `backoff` is "exponential", but `max_delay`
    seconds at most. `jitter`, from 0 to 1, is the part of a delay that is random. Instead, `backoff` may be a function
    of the attempt that failed (from 1) and its error; it returns seconds or a timedelta, of which `max_delay` are
    waited at most, without jitter.

    `on` are the only error classes after which an event is tried again, `never` those after which it is not, whatever
    `on` says. Both go by isinstance; of a group of errors, each must allow another attempt.

    Stored as BullMQ's `attempts` and `backoff` options, which Node's workers follow too: exponential where `backoff` is
    a function. `on`, `never` and functions are not stored.

    Raises:
        DeclarationError: attempts below 1 or above a billion, a delay below 0 or above a century, a jitter outside 0 to
            1, an unknown backoff or a function of other arguments, `on` or `never` that are no error classes.
    """

    attempts: int = 3
    delay: Seconds = 1.0
    backoff: Literal["exponential", "fixed"] | Backoff = "exponential"
    max_delay: Seconds = 3600.0
    jitter: float = 0.5
    on: ErrorClasses | None = None
    never: ErrorClasses | None = None

    def __post_init__(self) -> None:
        whole_number(self.attempts, "Retry.attempts", least=1)
        object.__setattr__(self, "delay", seconds(self.delay, "Retry.delay"))
        object.__setattr__(self, "max_delay", seconds(self.max_delay, "Retry.max_delay"))
        if self.backoff not in ("exponential", "fixed"):
            _check_backoff(self.backoff)
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, int | float) or not 0 <= self.jitter <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("Retry.jitter must be a number from 0 to 1.")
        # Lua's cjson writes 14 digits: what is read back must equal what was declared.
        object.__setattr__(self, "jitter", round(self.jitter, 6))
        on, never = _error_classes(self.on, "on"), _error_classes(self.never, "never")
        _check_overlap(on, never)
        object.__setattr__(self, "on", on)
        object.__setattr__(self, "never", never)

    @property
    def options(self) -> dict[str, Any]:
        """As BullMQ's job options."""
        kind = self.backoff if isinstance(self.backoff, str) else "exponential"
        delay = round(float(self.delay) * 1000)  # pyright: ignore[reportArgumentType] - seconds() made it a float
        return {"attempts": self.attempts, "backoff": {"type": kind, "delay": delay, "jitter": self.jitter}}


def _check_backoff(backoff: Any) -> None:
    if not callable(backoff) or inspect.isclass(backoff):
        raise DeclarationError(
            "Retry.backoff must be 'exponential', 'fixed', or a function of the attempt and its error that returns "
            "seconds."
        )
    # An object whose __call__ is async is no coroutine function itself.
    if any(map(inspect.iscoroutinefunction, (backoff, type(backoff).__call__))):
        raise DeclarationError("Retry.backoff must be a plain function, not an async def.")
    if not _takes(backoff, None, None):
        raise DeclarationError("Retry.backoff must take two arguments: the attempt that failed, from 1, and its error.")


def _error_classes(given: Any, name: str) -> tuple[type[BaseException], ...] | None:
    if given is None:
        return None
    classes: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)  # pyright: ignore[reportUnknownVariableType]
    if not classes:
        instead = "Retry(attempts=1) tries no event again" if name == "on" else "leave it out to try again after all"
        raise DeclarationError(f"Retry.{name} names no error class; {instead}.")
    for kind in classes:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise DeclarationError(
                f"Retry.{name} must be an error class, such as ConnectionError, or a tuple of them; not "
                f"{_what_it_is(kind)}."
            )
        if kind is BaseException:
            instead = "leave it out to try again after all errors" if name == "on" else "write Retry(attempts=1)"
            raise DeclarationError(f"Retry.{name} must not be BaseException, which every error is; {instead}.")
        if issubclass(kind, BaseExceptionGroup):
            raise DeclarationError(
                f"Retry.{name} must not be {kind.__name__}, a group of errors; name the errors that are in it."
            )
    return classes


def _what_it_is(given: Any) -> str:
    if isinstance(given, str):
        return "its name as a text: write the class itself"
    if isinstance(given, BaseException):
        return f"an error: write {type(given).__name__}, its class"
    if isinstance(given, type):
        return f"the class {given.__name__}, which is no error's"
    return f"a {type(given).__name__}"


def _check_overlap(on: tuple[type[BaseException], ...] | None, never: tuple[type[BaseException], ...] | None) -> None:
    for kind in on or ():
        wins = next((each for each in never or () if issubclass(kind, each)), None)
        if wins is not None:
            also = "it" if wins is kind else f"its base {wins.__name__}"
            raise DeclarationError(
                f"Retry.on names {kind.__name__}, and Retry.never {also}, which wins; take one of them out."
            )


def backoff_ms(backoff: Any, attempts_made: int, max_delay: float | None) -> int:
    """The delay in milliseconds after `attempts_made` attempts, by a job's `backoff` option (BullMQ's `Backoffs`).

    `max_delay` is in seconds. The delay is 0 for a malformed option, and a century at most.
    """
    fixed = json_number(backoff)
    if fixed is not None:
        return _delay_ms(fixed)
    if not isinstance(backoff, dict):
        return 0
    option: dict[str, Any] = backoff  # pyright: ignore[reportUnknownVariableType]
    delay, jitter = json_number(option.get("delay", 0)), json_number(option.get("jitter") or 0)
    if delay is None or jitter is None:
        return 0
    if option.get("type") == "exponential":
        delay *= 2.0 ** min(max(attempts_made, 1) - 1, 60)
    if max_delay is not None:
        delay = min(delay, max_delay * 1000)
    reduction = random.random() * min(max(jitter, 0), 1)  # noqa: S311 - spreads retries, keeps no secret
    return _delay_ms(delay * (1 - reduction))


def _delay_ms(delay: float) -> int:
    return int(min(max(delay, 0), _LONGEST_WAIT_MS))


def json_number(value: Any) -> float | int | None:
    """A number from another program's JSON, limited to what Lua counts exactly; None for anything else."""
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or value != value
    ):  # NaN; isnan fails for huge ints
        return None
    return min(max(value, -_LARGEST), _LARGEST)


@dataclass(frozen=True)
class Keep:
    """How many finished events are kept in Redis, and for how long; None is without limit.

    `completed` and `failed` are counts, `completed_for` and `failed_for` seconds or timedeltas. Stored as BullMQ's
    `removeOnComplete` and `removeOnFail` options; a job's own options take precedence.

    Raises:
        DeclarationError: a count below 0 or above a billion, an age below 0 or above a century.
    """

    completed: int | None = 0
    failed: int | None = 10_000
    completed_for: Seconds | None = None
    failed_for: Seconds | None = timedelta(days=14)

    def __post_init__(self) -> None:
        for name in ("completed", "failed"):
            value = getattr(self, name)
            if value is not None:
                whole_number(value, f"Keep.{name}", least=0)
        for name in ("completed_for", "failed_for"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, seconds(value, f"Keep.{name}"))

    @property
    def options(self) -> dict[str, Any]:
        """As BullMQ's job options."""
        return {
            "removeOnComplete": _keep_option(self.completed, self.completed_for),
            "removeOnFail": _keep_option(self.failed, self.failed_for),
        }


def _keep_option(count: int | None, age: Any) -> dict[str, int]:
    if count == 0:
        return {"count": 0}
    option = {"count": -1 if count is None else count}
    return option if age is None else {**option, "age": math.ceil(age)}


def keep_jobs(option: Any) -> dict[str, int] | None:
    """A `removeOnComplete` or `removeOnFail` option as BullMQ's `keepJobs`; None if missing or malformed."""
    if option is None:
        return None
    if isinstance(option, bool):
        return {"count": 0 if option else -1}
    limits: dict[str, Any] = {"count": option}
    if isinstance(option, dict):
        limits = {key: option[key] for key in ("count", "age", "limit") if key in option}  # pyright: ignore[reportUnknownVariableType]
    numbers = {key: json_number(value) for key, value in limits.items()}
    if None in numbers.values():
        return None
    return {key: int(value) for key, value in numbers.items() if value is not None}


def with_expiry(options: dict[str, Any], expires_ms: int) -> dict[str, Any]:
    """A job's options, with the milliseconds after which it expires unless it has begun; 0: never."""
    kept = {name: value for name, value in options.items() if name != EXPIRES}
    return kept | {EXPIRES: expires_ms} if expires_ms else kept
