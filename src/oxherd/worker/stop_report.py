"""What a stop has to report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.running.outcome import Outcome


@dataclass(frozen=True, slots=True)
class StopReport:
    """What became of the events that had begun when a worker's stop did, each by its UUID.

    Attributes:
        drained: came to their end.
        requeued: were put back on the queue, at no cost.
        cancelled: were told to stop when the time was over; they are among the others as well, by what became of them.
        stranded: could not be put back or written, as in an outage: their locks run out, another worker begins them.
        unresolved: how many calls to Redis lost their answer; each may have begun an event.
        stuck: whose handlers could not be ended (a thread, or a coroutine that swallows its cancellation) and may still
            run; they are among the others as well, and what becomes of these runs is not recorded.
    """

    drained: list[UUID] = field(default_factory=list[UUID])
    requeued: list[UUID] = field(default_factory=list[UUID])
    cancelled: list[UUID] = field(default_factory=list[UUID])
    stranded: list[UUID] = field(default_factory=list[UUID])
    unresolved: int = 0
    stuck: list[UUID] = field(default_factory=list[UUID])

    @property
    def texts(self) -> dict[str, list[str]]:
        """The UUIDs as text, by what became of the events."""
        names = ("drained", "requeued", "cancelled", "stranded", "stuck")
        return {name: [str(event_id) for event_id in getattr(self, name)] for name in names}

    @property
    def left_behind(self) -> int:
        """How many events are left to their locks, as far as that is known; a worker that ends so has the status 1."""
        return len(self.stranded) + self.unresolved


def stopped(held: list[Execution], *, unresolved: int = 0) -> StopReport:
    """The report on what was held by one queue."""
    report = StopReport(unresolved=unresolved)
    for running in held:
        event_id = UUID(running.event_id)
        if running.unwritten:
            report.stranded.append(event_id)
        elif running.outcome is Outcome.REQUEUED:
            report.requeued.append(event_id)
        elif running.outcome not in (None, Outcome.LOST):
            report.drained.append(event_id)
        if running.told_to_stop:
            report.cancelled.append(event_id)
        if running.stage is Stage.ABANDONED:
            report.stuck.append(event_id)
    return report


def total(reports: Iterable[StopReport]) -> StopReport:
    """Several reports in one."""
    each = list(reports)
    return StopReport(
        drained=[event_id for report in each for event_id in report.drained],
        requeued=[event_id for report in each for event_id in report.requeued],
        cancelled=[event_id for report in each for event_id in report.cancelled],
        stranded=[event_id for report in each for event_id in report.stranded],
        unresolved=sum(report.unresolved for report in each),
        stuck=[event_id for report in each for event_id in report.stuck],
    )
