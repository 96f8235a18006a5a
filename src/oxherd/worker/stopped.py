"""What a stop has to report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oxherd.worker.outcome import Outcome
from oxherd.worker.running import Running


@dataclass(slots=True)
class Stopped:
    """What became of the events that were held when a stop began.

    `stranded` ones could not be put back or written; `stuck` says that a handler could not be ended.
    """

    drained: int = 0
    requeued: int = 0
    stranded: int = 0
    stuck: bool = False


def stopped(held: list[Running], *, stuck: bool, orphaned: int) -> Stopped:
    """The report on what was held by one queue; `orphaned` calls may have begun what nobody runs."""
    outcomes = [running.outcome for running in held if running.outcome is not None]
    requeued = outcomes.count(Outcome.REQUEUED)
    return Stopped(
        drained=len(outcomes) - requeued - outcomes.count(Outcome.LOST),
        requeued=requeued,
        stranded=sum(running.unwritten for running in held) + orphaned,
        stuck=stuck,
    )


def total(reports: Iterable[Stopped]) -> Stopped:
    """Several reports in one."""
    each = list(reports)
    return Stopped(
        drained=sum(report.drained for report in each),
        requeued=sum(report.requeued for report in each),
        stranded=sum(report.stranded for report in each),
        stuck=any(report.stuck for report in each),
    )
