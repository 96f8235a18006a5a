"""What is wrong with a herd, and what to do. Each check is a function of what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from oxherd.doctor import event_checks, growth_checks, queue_checks, server_checks
from oxherd.doctor.facts import Facts, read_facts, read_quick_facts
from oxherd.doctor.finding import Finding

__all__ = ["CHECKS", "Facts", "Finding", "findings_of", "read_facts", "read_quick_facts"]

# In the order in which their findings are printed: what keeps others from working comes first.
CHECKS: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
    server_checks.version,
    server_checks.eviction,
    server_checks.memory,
    server_checks.persistence,
    server_checks.server_clocks,
    server_checks.worker_clocks,
    event_checks.no_worker,
    event_checks.paused,
    event_checks.rate,
    event_checks.max_running,
    event_checks.flood,
    event_checks.failures,
    event_checks.lock,
    queue_checks.unknown_queues,
    queue_checks.stopped_schedules,
    growth_checks.kept,
    growth_checks.streams,
    growth_checks.outboxes,
)


def findings_of(facts: Facts) -> Iterator[Finding]:
    """What the checks find."""
    for check in CHECKS:
        yield from check(facts)
