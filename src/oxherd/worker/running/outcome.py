"""How a run can end, what that makes of its event, and what Redis is told: three enums and two tables, pure."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum, auto


class RunEnd(IntEnum):
    """How a handler's run ended. Integers, since a plain enum's hash is slow."""

    RETURNED = auto()
    RAISED = auto()
    RAISED_FINAL = auto()  # it raised what its event is not tried again after
    DISCARDED = auto()  # it raised Discard: another run would not help
    SNOOZED = auto()  # it raised Snooze: another run, without spending an attempt
    RATE_LIMITED = auto()  # it raised RateLimited: the same, and its event rests
    TIMED_OUT = auto()
    TIMED_OUT_FINAL = auto()  # and its event is not tried again after a timeout
    CANCELLED = auto()  # from outside; another run would be unwanted
    STOPPED = auto()
    LOST = auto()
    CHILDREN_PENDING = auto()  # it returned before its children had ended
    CHILDREN_FAILED = auto()  # a child that it depends on has failed: another run would not help


class Outcome(StrEnum):
    """The contract's words for what became of an event."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRYING = "retrying"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    DISCARDED = "discarded"
    LOST = "lost"


class Write(Enum):
    """What Redis is told."""

    COMPLETE = auto()
    FAIL = auto()
    RETRY = auto()
    SNOOZE = auto()
    REST = auto()
    REQUEUE = auto()
    DROP = auto()  # it has expired: failed, and not kept
    NOTHING = auto()


# While an attempt is left, and after the last.
_OUTCOMES: dict[RunEnd, tuple[Outcome, Outcome]] = {
    RunEnd.RETURNED: (Outcome.COMPLETED, Outcome.COMPLETED),
    RunEnd.RAISED: (Outcome.RETRYING, Outcome.FAILED),
    RunEnd.RAISED_FINAL: (Outcome.FAILED, Outcome.FAILED),
    RunEnd.DISCARDED: (Outcome.DISCARDED, Outcome.DISCARDED),
    RunEnd.SNOOZED: (Outcome.RETRYING, Outcome.RETRYING),
    RunEnd.RATE_LIMITED: (Outcome.RETRYING, Outcome.RETRYING),
    RunEnd.TIMED_OUT: (Outcome.RETRYING, Outcome.TIMED_OUT),
    RunEnd.TIMED_OUT_FINAL: (Outcome.TIMED_OUT, Outcome.TIMED_OUT),
    RunEnd.CANCELLED: (Outcome.CANCELLED, Outcome.CANCELLED),
    RunEnd.STOPPED: (Outcome.REQUEUED, Outcome.REQUEUED),
    RunEnd.LOST: (Outcome.LOST, Outcome.LOST),
    RunEnd.CHILDREN_PENDING: (Outcome.RETRYING, Outcome.FAILED),
    RunEnd.CHILDREN_FAILED: (Outcome.FAILED, Outcome.FAILED),
}

_WRITES: dict[Outcome, Write] = {
    Outcome.COMPLETED: Write.COMPLETE,
    Outcome.FAILED: Write.FAIL,
    Outcome.RETRYING: Write.RETRY,
    Outcome.TIMED_OUT: Write.FAIL,
    Outcome.CANCELLED: Write.FAIL,
    Outcome.REQUEUED: Write.REQUEUE,
    Outcome.DISCARDED: Write.FAIL,
    Outcome.LOST: Write.NOTHING,
}


# Where the outcome does not say it.
_WRITES_OF_ENDS = {RunEnd.SNOOZED: Write.SNOOZE, RunEnd.RATE_LIMITED: Write.REST}


def _ending(end: RunEnd, outcome: Outcome) -> tuple[Outcome, Write]:
    return outcome, _WRITES_OF_ENDS.get(end, _WRITES[outcome])


# Joined once: they are looked up for each event.
_ENDINGS = {end: (_ending(end, left), _ending(end, last)) for end, (left, last) in _OUTCOMES.items()}


def ending_of(end: RunEnd, *, attempts_left: bool) -> tuple[Outcome, Write]:
    """What a run makes of its event, and what Redis is told."""
    return _ENDINGS[end][not attempts_left]
