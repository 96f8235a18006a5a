"""Whether a worker is live and ready, and why not. Pure: judges facts that any thread may gather."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# A loop that is blocked, or a restarted fetching that fetches nothing, for longer than this will not recover.
BLOCKED_SECONDS = 10.0
STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """How a herd's processing goes.

    Attributes:
        live: False when a restart of the process is what helps: the event loop has been blocked for more than 10
            seconds, or events wait and none was fetched for 30 seconds after the fetching was restarted. An outage of
            Redis is no reason.
        ready: whether events begin: False before the start, until Redis has answered, during an outage, while the
            worker stops, and when it is not live.
        reasons: one sentence for each thing that is wrong, even where the worker is live and ready all the same.
        events: the names of the events that are processed.
        blocked_seconds: how long the event loop has been blocked by now; 0 below a second.
        stuck: the names of events that wait and do not begin, though Redis serves.
        outages: the nodes that have an outage, named as in `redis.error`.
        stopping: whether every event is being stopped.
        paused: the names of events that are paused; that is no fault.
    """

    live: bool
    ready: bool
    reasons: list[str]
    events: list[str]
    blocked_seconds: float
    stuck: list[str]
    outages: list[str]
    stopping: bool
    paused: list[str]


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is known of one queue group.

    Attributes:
        reached: whether Redis has ever answered a fetch.
        stuck_seconds: how long ago a fetching was restarted that has fetched nothing since; None without one.
        hanging: whether handlers that do not end hold every slot.
        paused: whether it was paused at the last heartbeat.
    """

    events: list[str]
    reached: bool
    stuck_seconds: float | None
    hanging: bool
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a herd's processing."""

    groups: list[GroupFacts] = field(default_factory=list[GroupFacts])
    blocked_seconds: float = 0.0
    outages: list[str] = field(default_factory=list[str])
    stopping: bool = False


def total(workers: list[Facts], outages: list[str]) -> Facts:
    """The facts of several workers as one's: a herd has one in each event loop."""
    return Facts(
        groups=[group for worker in workers for group in worker.groups],
        blocked_seconds=max((worker.blocked_seconds for worker in workers), default=0.0),
        outages=outages,
        stopping=any(worker.stopping for worker in workers) and all(w.stopping or not w.groups for w in workers),
    )


def judge(facts: Facts) -> Health:
    """The health that follows from the facts."""
    longest = max((group.stuck_seconds or 0.0 for group in facts.groups), default=0.0)
    live = facts.blocked_seconds <= BLOCKED_SECONDS and longest <= STUCK_SECONDS
    serving = bool(facts.groups) and all(group.reached for group in facts.groups)
    stuck = [group for group in facts.groups if group.stuck_seconds is not None or group.hanging]
    return Health(
        live=live,
        ready=live and serving and not facts.stopping and not facts.outages,
        reasons=list(_reasons(facts)),
        events=[name for group in facts.groups for name in group.events],
        blocked_seconds=facts.blocked_seconds,
        stuck=[name for group in stuck for name in group.events],
        outages=facts.outages,
        stopping=facts.stopping,
        paused=[name for group in facts.groups if group.paused for name in group.events],
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
        if group.paused:
            yield f"{names}: paused; it begins again once it is resumed."
        if group.stuck_seconds is not None:
            yield f"{names}: the fetching was restarted {group.stuck_seconds:.0f} s ago, and nothing was fetched since."
        if group.hanging:
            yield f"{names}: events wait, and handlers that hang hold every slot; give the event a timeout."
