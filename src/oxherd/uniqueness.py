"""Which emits of an event make one event: `Unique` and `Debounce`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from oxherd.errors import DeclarationError
from oxherd.policy import Seconds, boolean, check_key_function, seconds

KeyFunction = Callable[[Any], object]
# A debounced event is due after so many waits at the latest, unless it is told otherwise.
_MOST_WAITS = 10


class Rule(NamedTuple):
    """What the script that adds unique events is told; times in milliseconds."""

    kind: Literal["done", "last", "within", "debounce"]
    wait_ms: int = 0
    most_ms: int = 0


class UniqueKey(NamedTuple):
    """By what an event is unique; `id` is BullMQ's deduplication id, "" for an event that stands for itself."""

    id: str
    rule: Rule


@dataclass(frozen=True)
class Unique:
    """One event for a key: until it has ended (`until="done"`), or for `within` seconds after its emit.

    With `keep_last`, the payload of the last emit is always processed: one that has not begun gets it, one that has is
    followed by one more event.

    `by` is a function of the payload that returns a str, int, UUID or bytes; None: the event's `key`. An event for
    which it returns None is not held to be unique.

    Redis: BullMQ's deduplication keys, `de:<id>` and `dn:<id>`; the id is the SHA-256 of the event's name and the key.

    Raises:
        DeclarationError: neither or both of `until` and `within`, or `keep_last` without `until`.
    """

    until: Literal["done"] | None = None
    keep_last: bool = False
    within: Seconds | None = None
    by: KeyFunction | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until != "done":  # pyright: ignore[reportUnnecessaryComparison] - callers are not all type-checked
            raise DeclarationError('Unique.until must be "done"; for a time, write Unique(within=60).')
        if (self.until is None) == (self.within is None):
            raise DeclarationError('Unique takes one of until="done" and within=seconds.')
        boolean(self.keep_last, "Unique.keep_last")
        if self.keep_last and self.until is None:
            raise DeclarationError('Unique.keep_last goes with until="done"; for a time, use Debounce.')
        if self.within is not None:
            object.__setattr__(self, "within", seconds(self.within, "Unique.within", least=0.001))

    @property
    def rule(self) -> Rule:
        """As the script takes it."""
        if self.within is not None:
            return Rule("within", _ms(self.within))
        return Rule("last" if self.keep_last else "done")


@dataclass(frozen=True)
class Debounce:
    """One event for a burst of emits, with the last payload: due `wait` seconds after the last emit of its key.

    `at_most` is how many seconds after the first emit it is due at the latest; None: ten times `wait`. Once it has
    begun, the next emit makes another event. `by` is as in `Unique`.

    Raises:
        DeclarationError: `wait` is not positive, or `at_most` is shorter.
    """

    wait: Seconds
    at_most: Seconds | None = None
    by: KeyFunction | None = None

    def __post_init__(self) -> None:
        wait = seconds(self.wait, "Debounce.wait", least=0.001)
        most = wait * _MOST_WAITS if self.at_most is None else self.at_most
        object.__setattr__(self, "wait", wait)
        object.__setattr__(self, "at_most", seconds(most, "Debounce.at_most", least=wait))

    @property
    def rule(self) -> Rule:
        """As the script takes it."""
        return Rule("debounce", _ms(self.wait), _ms(self.at_most or 0))


def _ms(duration: Seconds) -> int:
    return math.ceil(seconds(duration, "a duration") * 1000)


def unique_key(event: str, key: bytes | None, rule: Rule) -> UniqueKey:
    """What an event of that key is unique by; a key is stored as a hash only."""
    return UniqueKey("" if key is None else sha256(event.encode() + b"\0" + key).hexdigest(), rule)


def check_unique(
    event: str, unique: Any, key: KeyFunction | None, shards: int, ordered: bool, expires_ms: int
) -> Unique | Debounce | None:
    """Return what a declaration says of uniqueness; raises DeclarationError if the rest of it forbids that."""
    if unique is None:
        return None
    if not isinstance(unique, Unique | Debounce):
        raise DeclarationError(f"{event}: unique must be a Unique(...) or a Debounce(...).")
    kind, by = type(unique).__name__, unique.by
    if by is not None:
        check_key_function(f"{event}: by", by)
    if by is None and key is None:
        raise DeclarationError(f"{event}: unique needs to know by what: give {kind} a by=, or the event a key=.")
    if shards > 1 and by is not None and by is not key:
        raise DeclarationError(
            f"{event}: with shards, unique goes by the event's key: give it as key=, no other as by=."
        )
    rule = unique.rule
    if ordered and rule.kind in ("last", "debounce"):
        what = "keep_last" if rule.kind == "last" else "Debounce"
        raise DeclarationError(f"{event}: an ordered event keeps the order of its emits, which {what} changes.")
    if 0 < expires_ms <= rule.most_ms:
        raise DeclarationError(
            f"{event}: it would expire before it is due; let Debounce.at_most be shorter than expires."
        )
    return unique
