"""What the parts of a queue's worker share: the queue, what is processed of it, and who is told of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.schedulers import Schedulers
from oxherd.signals import Signals
from oxherd.worker.events import Events
from oxherd.worker.fault_reporter import FaultReporter

# Finds the queue that a payload belongs to.
Route = Callable[[Any], BullQueue]


@dataclass(frozen=True, slots=True)
class ServedQueue:
    """A queue as a worker serves it.

    Attributes:
        events: those that are processed here.
        is_declared: says whether an event of a name is declared for the queue at all.
        shared: whether several events may be.
        ordered: whether its jobs run one at a time, in order.
        route: finds the queue that a schedule's tick belongs to, where that is another.
    """

    queue: BullQueue
    schedulers: Schedulers
    signals: Signals
    faults: FaultReporter
    events: Events
    is_declared: Callable[[str], bool]
    shared: bool
    ordered: bool
    route: Route | None
