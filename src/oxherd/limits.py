"""How much of an event may run, over all workers: `Rate`, and `PerKey` for each of its keys. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from oxherd.errors import DeclarationError
from oxherd.policy import Seconds, seconds, whole_number

# A window's end is a key's expiry in Redis.
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Rate:
    """At most `count` begun in a window of `per` seconds (or a timedelta), which its first begin opens.

    Each begin counts, that of another attempt too.

    Raises:
        DeclarationError: `count` is not a whole number from 1, or `per` not a time from a millisecond to a century.
    """

    count: int
    per: Seconds

    def __post_init__(self) -> None:
        whole_number(self.count, "Rate.count", least=1)
        object.__setattr__(self, "per", seconds(self.per, "Rate.per", least=_LEAST_SECONDS))

    @property
    def per_ms(self) -> int:
        """The window in milliseconds."""
        # Rounded first: 0.069 * 1000 is a little more than 69.
        return math.ceil(round(seconds(self.per, "Rate.per") * 1000, 3))


@dataclass(frozen=True)
class PerKey:
    """The limits of each key of an event: `max_running` at once, `rate` in a window; the keys take turns.

    Without either, a key can still be paused, and rest after a `RateLimited`.

    Raises:
        DeclarationError: `max_running` is not a whole number from 1, or `rate` no Rate.
    """

    max_running: int | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        check_max_running(self.max_running, "PerKey.max_running")
        check_rate(self.rate, "PerKey.rate")


@dataclass(frozen=True)
class Limits:
    """What limits an event over all workers; None: nothing does."""

    rate: Rate | None = None
    max_running: int | None = None
    per_key: PerKey | None = None


NO_LIMITS = Limits()


def limit_key(event: str, key: bytes | None) -> str:
    """What an event's limits for that key go by, in Redis; "" if it has none. A key is stored as a hash only."""
    return "" if key is None else sha256(event.encode() + b"\0" + key).hexdigest()[:32]


def check_limits(
    event: str,
    limits: Limits,
    *,
    key: Callable[[Any], object] | None,
    shards: int,
    ordered: bool,
    own_queue: bool,
) -> Limits:
    """Return an event's limits; raises DeclarationError if the rest of its declaration forbids them."""
    check_rate(limits.rate, f"{event}: rate")
    check_max_running(limits.max_running, f"{event}: max_running")
    if limits.rate is not None or limits.max_running is not None:
        which = "rate" if limits.rate is not None else "max_running"
        if shards > 1:
            raise DeclarationError(f"{event}: with shards, {which} would hold for each shard; use per_key=PerKey(...).")
        if not own_queue:
            raise DeclarationError(f"{event}: {which} would hold for all events of its queue; leave queue out.")
    if limits.per_key is not None:
        check_per_key(limits.per_key, f"{event}: per_key")
        if key is None:
            raise DeclarationError(f"{event}: per_key needs the event's key=.")
        if ordered:
            raise DeclarationError(f"{event}: an ordered event runs one at a time; leave per_key or ordered out.")
    return limits


def check_rate(rate: Any, what: str) -> None:
    """Raise DeclarationError unless it is a Rate or None."""
    if rate is not None and not isinstance(rate, Rate):
        raise DeclarationError(f"{what} must be a Rate(count, per=seconds).")


def check_per_key(per_key: Any, what: str) -> None:
    """Raise DeclarationError unless it is a PerKey or None."""
    if per_key is not None and not isinstance(per_key, PerKey):
        raise DeclarationError(f"{what} must be a PerKey(...).")


def check_max_running(most: Any, what: str) -> None:
    """Raise DeclarationError unless it is a whole number from 1, or None."""
    if most is not None:
        whole_number(most, what, least=1)
