"""A histogram of times whose log-scaled buckets are fixed, so that several workers' can be added. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import ceil
from typing import Final

# Upper bounds in milliseconds, two for each doubling: from a millisecond to 26 hours. One more bucket is above them.
BOUNDS_MS: Final = tuple(2 ** (n / 2) for n in range(54))
BUCKETS: Final = len(BOUNDS_MS) + 1
_MIDDLES_MS: Final = (BOUNDS_MS[0] / 2, *(bound * 2**-0.25 for bound in BOUNDS_MS[1:]), BOUNDS_MS[-1])


def bucketed(values: list[float], bounds: Sequence[float] = BOUNDS_MS) -> Iterator[tuple[int, int]]:
    """Each bucket that holds values, with how many: the first whose bound they do not exceed. Sorts the values."""
    # Looks bounds up among the values, not the reverse: there are more values.
    values.sort()
    counted = 0
    while counted < len(values):
        bucket = bisect_left(bounds, values[counted])
        after = bisect_right(values, bounds[bucket]) if bucket < len(bounds) else len(values)
        yield bucket, after - counted
        counted = after


def percentile_ms(buckets: Sequence[int], share: float) -> float | None:
    """The time that a share of the values does not exceed, right within a fifth above a millisecond; None of none.

    It is the middle of its bucket; of what lies above the last bound, only that is known.
    """
    rank = max(1, ceil(share * sum(buckets)))
    bucket = bisect_left(list(accumulate(buckets)), rank)
    if bucket == BUCKETS:
        return None
    return _MIDDLES_MS[bucket]
