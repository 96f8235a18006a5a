"""Values of which the log shows the end only, `***1111`: what else of them must not stand in an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from oxherd.masks import HIDDEN, SEPARATORS, SHORTEST_WITH_END, SHOWN_END

# A card's or an account's usual group.
_GROUP: Final = 4
_RUN: Final = 5
_SHORTEST_DIGITS: Final = 6
# Longer ones are no cards or accounts: they are found whole and by their beginnings, as all others.
_LONGEST: Final = 128


def without_separators(value: str) -> str | None:
    """A number that was written in groups, in one; None for anything else."""
    compact = SEPARATORS.sub("", value)
    is_number = compact != value and len(compact) >= _SHORTEST_DIGITS and compact.isdigit()
    return compact if is_number else None


def parts(values: Iterable[str], shown: set[str]) -> Iterator[str]:
    """What else may tell of the values that are shown as `Mask("last4")` shows them: all but that end.

    Each of their runs of five characters, of four digits, and each of their groups, by four or by their separators.
    """
    if not any(text.startswith(HIDDEN) and len(text) == len(HIDDEN) + SHOWN_END for text in shown):
        return
    for value in values:
        compact = SEPARATORS.sub("", value)
        if SHORTEST_WITH_END <= len(compact) <= _LONGEST and HIDDEN + compact[-SHOWN_END:] in shown:
            yield compact
            yield from (group for group in SEPARATORS.split(value) if len(group) >= _GROUP)
            yield from _runs(compact)


def _runs(compact: str) -> Iterator[str]:
    last = len(compact) - SHOWN_END
    for first in range(last):
        four = compact[first : first + _GROUP]
        if four.isdigit() or first % _GROUP == 0:
            yield four
        if first <= len(compact) - _RUN:
            yield compact[first : first + _RUN]
