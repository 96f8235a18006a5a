"""Card, account and telephone numbers: how else they are written, and what may not be shown beside `***1111`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from oxherd.privacy.masks import HIDDEN, LAST4_SHORTEST, LAST4_SHOWN, SEPARATORS

# Telephone numbers have these between their digits too.
_PUNCTUATION: Final = re.compile(rf"[+()]|{SEPARATORS.pattern}")
_GROUP: Final = 4  # as cards and accounts are usually printed
_RUN: Final = 5
_SHORTEST_NUMBER: Final = 6
# A longer value is no card or account; like any other it is found whole and by its beginning.
_LONGEST: Final = 128


def compact_forms(value: str) -> Iterator[str]:
    """A telephone, card or account number without its punctuation, and as an integer; nothing for other texts."""
    if len(value) > _LONGEST or sum(map(str.isdigit, value)) < _SHORTEST_NUMBER:
        return
    compact = _PUNCTUATION.sub("", value)
    if compact.isalnum():
        yield compact
        if compact.isdigit() and len(integer := compact.lstrip("0")) >= _SHORTEST_NUMBER:
            yield integer


def digit_groups(values: Iterable[str], shown: set[str]) -> Iterator[str]:
    """The parts of values shown by `Mask("last4")` that would reveal more than those four characters.

    These are their runs of five characters and of four digits, and their groups, by four or by their separators.
    """
    if not any(text.startswith(HIDDEN) and len(text) == len(HIDDEN) + LAST4_SHOWN for text in shown):
        return
    for value in values:
        compact = SEPARATORS.sub("", value)
        if LAST4_SHORTEST <= len(compact) <= _LONGEST and HIDDEN + compact[-LAST4_SHOWN:] in shown:
            yield compact
            yield from (group for group in SEPARATORS.split(value) if len(group) >= _GROUP)
            yield from _runs(compact)


def _runs(compact: str) -> Iterator[str]:
    for first in range(len(compact) - LAST4_SHOWN):
        four = compact[first : first + _GROUP]
        if four.isdigit() or first % _GROUP == 0:
            yield four
        if first <= len(compact) - _RUN:
            yield compact[first : first + _RUN]
