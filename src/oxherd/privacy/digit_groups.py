"""Numbers of cards, accounts and telephones: how else they are written, and what must not stand in an error of those of
which the log shows the end only, `***1111`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from oxherd.privacy.masks import HIDDEN, SEPARATORS, SHORTEST_WITH_END, SHOWN_END

# What stands between the digits of a telephone's number too.
_BETWEEN: Final = re.compile(rf"[+()]|{SEPARATORS.pattern}")
# A card's or an account's usual group.
_GROUP: Final = 4
_RUN: Final = 5
_SHORTEST_DIGITS: Final = 6
# Longer ones are no cards or accounts: they are found whole and by their beginnings, as all others.
_LONGEST: Final = 128


def compact_forms(value: str) -> Iterator[str]:
    """A telephone's, card's or account's number as others write it: in one, and as an integer; of others none."""
    if len(value) > _LONGEST or sum(map(str.isdigit, value)) < _SHORTEST_DIGITS:
        return
    compact = _BETWEEN.sub("", value)
    if compact.isalnum():
        yield compact
        if compact.isdigit() and len(integer := compact.lstrip("0")) >= _SHORTEST_DIGITS:
            yield integer


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
