"""The histogram of times: its buckets, and percentiles that are right within a fifth."""

from __future__ import annotations

import random
from bisect import bisect_left
from math import ceil

import pytest

from oxherd.histogram import BOUNDS_MS, BUCKETS, bucketed, percentile_ms


def buckets_of(values: list[float]) -> list[int]:
    buckets = [0] * BUCKETS
    for bucket, count in bucketed(values):
        buckets[bucket] = count
    return buckets


def test_each_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    values = [0.0, 1.0, 1.1, 2.0, *BOUNDS_MS, BOUNDS_MS[-1] + 1, 1e12]
    expected = [0] * BUCKETS
    for value in values:
        expected[bisect_left(BOUNDS_MS, value)] += 1
    assert buckets_of(values) == expected
    assert buckets_of([]) == [0] * BUCKETS


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 1.0])
def test_a_percentile_is_right_within_a_fifth(share: float) -> None:
    source = random.Random(7)
    values = [source.lognormvariate(4, 2) + 1.01 for _ in range(5_000)]
    found = percentile_ms(buckets_of(values), share)
    exact = sorted(values)[ceil(share * len(values)) - 1]
    assert found is not None
    assert abs(found - exact) / exact < 0.2


def test_percentiles_of_none_of_the_shortest_and_of_the_longest() -> None:
    assert percentile_ms([0] * BUCKETS, 0.5) is None
    assert percentile_ms(buckets_of([0.1, 0.2]), 0.5) == 0.5
    assert percentile_ms(buckets_of([1e12]), 0.5) == BOUNDS_MS[-1]
