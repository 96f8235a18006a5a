"""What a stop reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from oxherd.worker.running.execution import Execution, Stage
from oxherd.worker.running.outcome import Outcome


@dataclass(frozen=True, slots=True)
class StopReport:
    """What became of the events that were running when a stop began, each by its UUID.

    Attributes:
        drained: ended by themselves.
        requeued: were put back on the queue, without costing an attempt.
        cancelled: were told to stop when the timeout was over; listed under what became of them as well.
        stranded: could not be put back or written, as in an outage: their locks run out, another worker begins them.
        unresolved: how many calls to Redis lost their answer; each may have begun an event.
        stuck: have handlers that could not be ended (a thread, or a coroutine that swallows its cancellation) and may
            still run; listed under what became of them as well. The end of these runs is not recorded.
    """

    drained: list[UUID] = field(default_factory=list[UUID])
    requeued: list[UUID] = field(default_factory=list[UUID])
    cancelled: list[UUID] = field(default_factory=list[UUID])
    stranded: list[UUID] = field(default_factory=list[UUID])
    unresolved: int = 0
    stuck: list[UUID] = field(default_factory=list[UUID])

    @property
    def texts(self) -> dict[str, list[str]]:
        """The lists, by name, with the UUIDs as text."""
        names = ("drained", "requeued", "cancelled", "stranded", "stuck")
        return {name: list(map(str, getattr(self, name))) for name in names}

    @property
    def left_behind(self) -> int:
        """How many events may wait for their lock to run out; a worker process then exits with status 1."""
        return len(self.stranded) + self.unresolved


def report_on(held: Iterable[Execution], *, unresolved: int = 0) -> StopReport:
    """The report on one queue's executions."""
    report = StopReport(unresolved=unresolved)
    for execution in held:
        event_id = UUID(execution.event_id)
        if execution.unwritten:
            report.stranded.append(event_id)
        elif execution.outcome is Outcome.REQUEUED:
            report.requeued.append(event_id)
        elif execution.outcome not in (None, Outcome.LOST):
            report.drained.append(event_id)
        if execution.told_to_stop:
            report.cancelled.append(event_id)
        if execution.stage is Stage.ABANDONED:
            report.stuck.append(event_id)
    return report


def total(reports: Iterable[StopReport]) -> StopReport:
    """Several reports as one."""
    each = list(reports)
    whole = StopReport(unresolved=sum(report.unresolved for report in each))
    for report in each:
        whole.drained.extend(report.drained)
        whole.requeued.extend(report.requeued)
        whole.cancelled.extend(report.cancelled)
        whole.stranded.extend(report.stranded)
        whole.stuck.extend(report.stuck)
    return whole
