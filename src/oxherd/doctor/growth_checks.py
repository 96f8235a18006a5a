"""Checks of keys that grow: what is kept beyond its bound, and what nobody takes away."""

from __future__ import annotations

from collections.abc import Iterator

from oxherd.admin import EventRow
from oxherd.doctor.facts import Facts
from oxherd.doctor.finding import Finding

# Streams are cut in whole nodes, and sets of ended jobs by those that end next.
_SLACK = 2.0
_FEW = 1_000


def kept(facts: Facts) -> Iterator[Finding]:
    """More that has ended than its event keeps: jobs with options of their own, as Node's have them."""
    for row in facts.events:
        keep = facts.keeps.get(row.name)
        if keep is None or row.shared_with:
            continue
        for state, count, most in (("completed", row.completed, keep.completed), ("failed", row.failed, keep.failed)):
            if most is not None and count > max(most * len(row.queues) * _SLACK, _FEW):
                yield _kept(facts, row, state, count, most)


def _kept(facts: Facts, row: EventRow, state: str, count: int, most: int) -> Finding:
    option = "removeOnComplete" if state == "completed" else "removeOnFail"
    return Finding(
        "kept",
        f"{row.name}: {count:,} {state} are kept, though keep= says {most:,}; who emits them says otherwise",
        f"set {option} in Node's jobs, then oxherd discard {facts.target} {row.name} --state {state}",
        f"Set {option} in Node's jobs, then discard them.",
        event=row.name,
    )


def streams(facts: Facts) -> Iterator[Finding]:
    """An event stream that is longer than it is cut to."""
    for size in facts.sizes:
        if size.events > max(size.most_events * _SLACK, _FEW):
            yield Finding(
                "stream",
                f"the event stream of {size.queue} has {size.events:,} entries, and should have {size.most_events:,}",
                "a program writes it without a bound; in Node, set streams.events.maxLen of its Queue",
                queue=size.queue,
            )


def outboxes(facts: Facts) -> Iterator[Finding]:
    """Messages that an event has failed, and that no worker sends on."""
    for size in facts.sizes:
        if size.outbox > _FEW:
            yield Finding(
                "outbox",
                f"the outbox of {size.queue} holds {size.outbox:,} messages that an event has failed",
                f"oxherd worker {facts.target}: a live worker of that event sends them on; its log says what keeps it",
                "Start a worker of that event; its log says what keeps them.",
                queue=size.queue,
            )
