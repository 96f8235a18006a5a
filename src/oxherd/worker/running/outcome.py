"""What can become of an event that began: an enum and a table, pure."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum, auto


class Ended(IntEnum):
    """How a handler's run ended. Integers, since a plain enum's hash is slow."""

    RETURNED = auto()
    RAISED = auto()
    DISCARDED = auto()  # it raised Discard, or its result cannot be stored: another run would not help
    TIMED_OUT = auto()
    CANCELLED = auto()  # by itself, not by us
    STOPPED = auto()
    LOST = auto()
    CHILDREN_PENDING = auto()  # it returned before its children had ended
    CHILDREN_FAILED = auto()  # it returned, and a child that it depends on had failed: another run would not help


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
    REQUEUE = auto()
    NOTHING = auto()


# How it ended, and whether an attempt is left (None: it does not matter).
_OUTCOMES: dict[tuple[Ended, bool | None], Outcome] = {
    (Ended.RETURNED, None): Outcome.COMPLETED,
    (Ended.RAISED, True): Outcome.RETRYING,
    (Ended.RAISED, False): Outcome.FAILED,
    (Ended.DISCARDED, None): Outcome.DISCARDED,
    (Ended.TIMED_OUT, True): Outcome.RETRYING,
    (Ended.TIMED_OUT, False): Outcome.TIMED_OUT,
    (Ended.CANCELLED, True): Outcome.RETRYING,
    (Ended.CANCELLED, False): Outcome.CANCELLED,
    (Ended.STOPPED, None): Outcome.REQUEUED,
    (Ended.LOST, None): Outcome.LOST,
    (Ended.CHILDREN_PENDING, True): Outcome.RETRYING,
    (Ended.CHILDREN_PENDING, False): Outcome.FAILED,
    (Ended.CHILDREN_FAILED, None): Outcome.FAILED,
}

WRITES: dict[Outcome, Write] = {
    Outcome.COMPLETED: Write.COMPLETE,
    Outcome.FAILED: Write.FAIL,
    Outcome.RETRYING: Write.RETRY,
    Outcome.TIMED_OUT: Write.FAIL,
    Outcome.CANCELLED: Write.FAIL,
    Outcome.REQUEUED: Write.REQUEUE,
    Outcome.DISCARDED: Write.FAIL,
    Outcome.LOST: Write.NOTHING,
}


def outcome(ended: Ended, *, attempts_left: bool) -> Outcome:
    """The outcome of a run, by the table."""
    found = _OUTCOMES.get((ended, None))
    return found if found is not None else _OUTCOMES[ended, attempts_left]
