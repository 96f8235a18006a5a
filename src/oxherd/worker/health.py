"""Whether a worker is alive and ready, and why not: judged by facts that any thread may gather. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# What does not go on for longer, the loop by itself, or a queue after its fetching was begun anew, will not come back.
BLOCKED_SECONDS = 10.0
STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """How a herd's processing goes.

    Attributes:
        live: False when a restart is what helps: the event loop has been blocked for more than 10 seconds, or events
            wait and none was fetched in the 30 seconds since the fetching was begun anew. An outage of Redis is no
            reason.
        ready: whether events are begun: False before the start, until Redis has answered, during an outage, while it
            stops, and when it is not live.
        reasons: one sentence for each thing that is not as it should be, also where it is live and ready all the same.
        events: the names of the events that are processed.
        blocked_seconds: for how long the event loop has been blocked by now; 0 where that is less than a second.
        stuck: the names of events that wait and of which none is begun, though Redis serves.
        outages: the nodes that have an outage, as in `redis.error`.
        stopping: whether every event is being stopped.
    """

    live: bool
    ready: bool
    reasons: list[str]
    events: list[str]
    blocked_seconds: float
    stuck: list[str]
    outages: list[str]
    stopping: bool


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is known of some of the events: whether Redis has ever said what there is to begin, for how many seconds
    nothing was fetched since the fetching was begun anew, and whether handlers hang in every place."""

    events: list[str]
    reached: bool
    stuck_seconds: float | None
    hanging: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a herd's processing."""

    groups: list[GroupFacts] = field(default_factory=list[GroupFacts])
    blocked_seconds: float = 0.0
    outages: list[str] = field(default_factory=list[str])
    stopping: bool = False


def judge(facts: Facts) -> Health:
    """The health that the facts amount to."""
    longest = max((group.stuck_seconds or 0.0 for group in facts.groups), default=0.0)
    live = facts.blocked_seconds <= BLOCKED_SECONDS and longest <= STUCK_SECONDS
    serving = bool(facts.groups) and all(group.reached for group in facts.groups)
    return Health(
        live=live,
        ready=live and serving and not facts.stopping and not facts.outages,
        reasons=list(_reasons(facts)),
        events=[name for group in facts.groups for name in group.events],
        blocked_seconds=facts.blocked_seconds,
        stuck=[
            name for group in facts.groups if group.stuck_seconds is not None or group.hanging for name in group.events
        ],
        outages=facts.outages,
        stopping=facts.stopping,
    )


def _reasons(facts: Facts) -> Iterator[str]:
    if facts.stopping:
        yield "The worker is stopping."
    elif not facts.groups:
        yield "No event is processed; start the herd."
    if facts.blocked_seconds:
        yield f"The event loop has been blocked for {facts.blocked_seconds:.1f} s; see worker.blocked in the log."
    for node in facts.outages:
        yield f"Redis at {node} does not serve us; see redis.error in the log."
    if not facts.outages and not all(group.reached for group in facts.groups):
        yield "Redis has not answered yet."
    for group in facts.groups:
        names = ", ".join(group.events)
        if group.stuck_seconds is not None:
            ago = f"{group.stuck_seconds:.0f} s ago"
            yield f"{names}: the fetching was begun anew {ago}, and nothing was fetched since."
        if group.hanging:
            yield f"{names}: events wait, and every place is taken by a handler that hangs; give the event a timeout."
