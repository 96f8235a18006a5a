"""What the parts of a queue's worker have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from oxherd.bullmq.job import Job
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.declaration import Declaration
from oxherd.signals import Signals
from oxherd.worker.fault_reporter import FaultReporter
from oxherd.worker.outgoing import Outgoing
from oxherd.worker.served_events import ServedEvents

# Finds the queue of a payload's key.
Route = Callable[[Any], BullQueue]


@dataclass(frozen=True, slots=True)
class ServedQueue:
    """A queue that a worker serves.

    Attributes:
        events: the events that are served from it.
        declared: returns the declarations of the queue, served or not.
        shared: whether several events may use the queue.
        ordered: whether its jobs run one at a time, in order.
        route: finds the shard of a schedule's tick; None where ticks stay on this queue.
        prepare: what has to be done before the first fetch; None: nothing.
        siblings: the queues of the same event that the worker serves, this one included.
        outgoing: is told what is written to the queue's outbox.
    """

    queue: BullQueue
    schedulers: Schedulers
    signals: Signals
    faults: FaultReporter
    events: ServedEvents
    declared: Callable[[], list[Declaration]]
    shared: bool
    ordered: bool
    route: Route | None
    prepare: Callable[[], Awaitable[None]] | None = None
    siblings: Callable[[], list[BullQueue]] = list[BullQueue]
    outgoing: Outgoing = field(default_factory=Outgoing)

    def declaration_of(self, job: Job) -> Declaration | None:
        """The declaration by which a job is kept: that of its name or, on an event's own queue, the event's."""
        declared = self.declared()
        return next((each for each in declared if each.name == job.name), None if self.shared else declared[0])
