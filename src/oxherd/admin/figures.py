"""An event's figures of a time, as `history()` and `events()` return them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from oxherd.bullmq.history import BEGUN, EXPIRED, OUTCOMES, RAN, RAN_MS, WAITED, WAITED_MS, Figures
from oxherd.histogram import BUCKETS, percentile_ms


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, as a histogram (`oxherd.histogram`), in seconds where it is asked for.

    Attributes:
        buckets: how many in each bucket.
        total_seconds: all of them together.
    """

    buckets: tuple[int, ...]
    total_seconds: float

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)

    @property
    def mean(self) -> float | None:
        """The mean; None of none."""
        return self.total_seconds / self.count if self.count else None

    @property
    def p50(self) -> float | None:
        """What half of them did not exceed, right within a fifth above a millisecond; None of none."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float | None:
        """What 95 of 100 did not exceed, right within a fifth above a millisecond; None of none."""
        return self.percentile(0.95)

    def percentile(self, share: float) -> float | None:
        """What a share of them, from 0 to 1, did not exceed."""
        ms = percentile_ms(self.buckets, share)
        return None if ms is None else ms / 1000


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """What became of an event's runs in a minute, an hour or another time; of what oxherd's workers have run.

    Attributes:
        at: when it begins, by the server's clock.
        seconds: how long it is; of the minute or hour that is under way, until now.
        begun: how many runs began; those that ended are counted by their outcome, in the log's words.
        failed: those that failed without a run are included, such as one whose payload does not fit.
        expired: how many were dropped before they began, since they had expired.
        ran: how long the runs took that ended.
        waited: how long those waited that began with a first attempt, from when they could have begun.
    """

    event: str
    at: datetime
    seconds: float
    begun: int
    completed: int
    retrying: int
    failed: int
    timed_out: int
    cancelled: int
    requeued: int
    discarded: int
    lost: int
    expired: int
    ran: Times
    waited: Times

    @property
    def failures(self) -> int:
        """How many failed for good: failed, timed out or discarded."""
        return self.failed + self.timed_out + self.discarded

    @property
    def begun_rate(self) -> float:
        """How many began a minute."""
        return self._rate(self.begun)

    @property
    def completed_rate(self) -> float:
        """How many completed a minute."""
        return self._rate(self.completed)

    @property
    def failed_rate(self) -> float:
        """How many failed for good a minute."""
        return self._rate(self.failures)

    def _rate(self, count: int) -> float:
        return 60 * count / self.seconds if self.seconds else 0.0


def row_of(event: str, at: datetime, seconds: float, figures: Figures) -> HistoryRow:
    """The row of stored figures."""
    counts = {outcome: int(figures.get(number, 0)) for outcome, number in OUTCOMES.items()}
    return HistoryRow(
        event=event,
        at=at,
        seconds=seconds,
        begun=int(figures.get(BEGUN, 0)),
        expired=int(figures.get(EXPIRED, 0)),
        ran=_times(figures, RAN, RAN_MS),
        waited=_times(figures, WAITED, WAITED_MS),
        **counts,
    )


def _times(figures: Figures, first: int, total_ms: int) -> Times:
    buckets = tuple(int(figures.get(number, 0)) for number in range(first, first + BUCKETS))
    return Times(buckets, figures.get(total_ms, 0) / 1000)


def added(figures: Iterable[Figures]) -> Figures:
    """The sum of figures."""
    total: Figures = {}
    for each in figures:
        for number, value in each.items():
            total[number] = total.get(number, 0) + value
    return total


def summed(rows: Iterable[HistoryRow]) -> HistoryRow:
    """One row of several that follow each other, of one event or of several (whose names it has, by commas).

    Raises:
        ValueError: there are none.
    """
    each = list(rows)
    if not each:
        raise ValueError("summed() needs a row.")
    of_one = [row for row in each if row.event == each[0].event]
    counts = {name: sum(getattr(row, name) for row in each) for name in ("begun", *OUTCOMES, "expired")}
    return HistoryRow(
        event=",".join(dict.fromkeys(row.event for row in each)),
        at=min(row.at for row in each),
        seconds=sum(row.seconds for row in of_one),
        ran=_summed_times([row.ran for row in each]),
        waited=_summed_times([row.waited for row in each]),
        **counts,
    )


def _summed_times(times: list[Times]) -> Times:
    buckets = tuple(map(sum, zip(*(each.buckets for each in times), strict=True)))
    return Times(buckets, sum(each.total_seconds for each in times))
