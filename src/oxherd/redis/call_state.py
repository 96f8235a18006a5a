"""What is known of a call that may be sent more than once, and whose writes may have to be confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oxherd.errors import RedisUnavailable

Missing = Literal["replicas", "disk"]


class Unconfirmed(Exception):
    """`missing` did not confirm a write, or cannot: `confirmed` of `wanted` have it.

    `stored`: the primary has it. `why` is the reason, if it is not merely lack of time.
    """

    def __init__(self, missing: Missing, confirmed: int, wanted: int, *, stored: bool, why: str = "") -> None:
        super().__init__(why or f"{confirmed} of {wanted} {missing} confirmed it")
        self.missing: Missing = missing
        self.confirmed = confirmed
        self.wanted = wanted
        self.stored = stored
        self.why = why


@dataclass(slots=True)
class CallState:
    """The state of a call over all its attempts."""

    maybe_applied: bool = False
    """An attempt was sent, and its reply is not known (yet)."""
    last: RedisUnavailable | None = None
    """Why the last attempt failed."""
    repeated: bool = False
    """An earlier attempt may have run."""
    unconfirmed: Unconfirmed | None = None
    """Who has not confirmed it so far, if it has to be confirmed."""
