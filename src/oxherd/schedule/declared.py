"""A schedule in code, as an event's declaration says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar, get_args

from oxherd.errors import DeclarationError
from oxherd.schedule import Cron, Every, When

P = TypeVar("P")

Missed = Literal["one", "none", "all"]

# Options of a tick's job: how its schedule makes up for missed ticks, and how many it has made up in a row.
MISSED: Final = "ox:missed"
MADE_UP: Final = "ox:made-up"
MOST_MADE_UP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Schedule(Generic[P]):
    """When an event repeats, and with which payload: `schedules={"nightly": Schedule(Cron("0 2 * * *"), payload)}`.

    `missed` says what becomes of ticks that came due while no worker ran: one event for all of them, none, or one for
    each, oldest first, up to 1,000.

    Raises:
        DeclarationError: `when` is neither a Cron nor an Every, or `missed` is another word.
    """

    when: When
    payload: P = field(repr=False)
    missed: Missed = "one"

    def __post_init__(self) -> None:
        if not isinstance(self.when, Cron | Every):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError("A Schedule begins with a Cron(...) or an Every(...), then has its payload.")
        if self.missed not in get_args(Missed):
            raise DeclarationError('missed must be "one", "none" or "all": what is made of ticks that were missed.')
