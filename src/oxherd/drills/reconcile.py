"""The account of a drill: every emit, every run, every key. Pure: facts in, one row out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from oxherd.drills.ledger import Answer, Ledger

# A run that ended so is followed by another on purpose.
_GOES_ON = frozenset({"requeued", "retrying"})
_FINAL = frozenset({"completed", "failed", "timed_out", "cancelled", "discarded"})
_LONGEST_SILENCE = 5.0


@dataclass(slots=True)
class Run:
    """One run of a handler, from its begin to its end, if it had one; times are seconds since the Unix epoch.

    `killed` is when its worker was killed, if it was.
    """

    event_id: str
    fence: int
    began: float
    ended: float | None = None
    outcome: str | None = None
    killed: float | None = None


@dataclass(slots=True)
class Facts:
    """What is known after a drill.

    `done` are the events whose handler has noted that it came to its end; `stored` what is still in Redis, by state;
    `left` the keys that should be gone. `mended` and `quiet` are when the fault was over and when the load ended.
    `places` is how many events the workers could run at once.
    """

    ledger: Ledger
    runs: list[Run]
    done: set[str]
    stored: dict[str, str] = field(default_factory=dict[str, str])
    left: list[str] = field(default_factory=list[str])
    strange: list[str] = field(default_factory=list[str])
    statuses: list[str] = field(default_factory=list[str])
    erased_at: float | None = None
    mended: float = 0.0
    quiet: float = 0.0
    places: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a drill may cost: whether events may run twice, whether it erases some, and how many fail by intent."""

    repeats: bool = False
    erases: bool = False
    fails: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The account. `silence` and `overlap` are in seconds; `wrong` says what must not be.

    `overlap` is the longest time in which two runs of one event went on.
    """

    emitted: int
    acknowledged: int
    processed: int
    lost: int
    twice: int
    ends_missing: int
    silence: float
    left: int
    erased: int
    overlap: float
    wrong: list[str]


def reconcile(facts: Facts, expected: Expected) -> Row:
    """Weigh the facts against each other."""
    ledger = facts.ledger
    acknowledged = ledger.ids(Answer.ACKNOWLEDGED)
    finished = facts.done | {run.event_id for run in facts.runs if run.outcome in _FINAL}
    # Failed ones are kept in Redis: they were processed, too.
    finished |= {event_id for event_id, state in facts.stored.items() if state in ("failed", "completed")}
    erased = _erased(facts, acknowledged - finished)
    waiting = {each for each, state in facts.stored.items() if state not in ("failed", "completed")} - erased
    lost = acknowledged - finished - waiting - erased
    twice = _twice(facts.runs)
    missing = [run for run in facts.runs if run.outcome is None and run.killed is None]
    denied = ledger.ids(Answer.REFUSED) & ({run.event_id for run in facts.runs} | set(facts.stored))
    unknown = {run.event_id for run in facts.runs} - set(ledger.entries)
    failed = {run.event_id for run in facts.runs if run.outcome in _FINAL and run.outcome != "completed"}
    failed |= {event_id for event_id, state in facts.stored.items() if state == "failed"}
    silence = _silence(facts)
    wrong = [
        *_complaint(len(lost), "acknowledged and lost", lost),
        *_complaint(len(waiting), "still in Redis", waiting),
        *_complaint(len(denied), "ran although the emit was told that it is not stored", denied),
        *_complaint(len(unknown), "ran although nobody has emitted them", unknown),
        *_complaint(max(0, len(failed) - expected.fails), "failed without reason", failed),
        *_complaint(len(twice) - (facts.places if expected.repeats else 0), "ran twice without reason", twice),
        *_complaint(len(missing), "without an end, of a worker that was not killed", [r.event_id for r in missing]),
        *_complaint(len(facts.left), "keys left over", facts.left),
        *_complaint(len(facts.strange), "records that nobody has promised", facts.strange),
        *facts.statuses,
    ]
    if silence > _LONGEST_SILENCE:
        wrong.append(f"silent for {silence:.1f} s after the fault was over")
    if expected.erases and not erased:
        wrong.append("nothing was there to be erased")
    return Row(
        emitted=len(ledger.entries),
        acknowledged=len(acknowledged),
        processed=len(acknowledged & finished),
        lost=len(lost),
        twice=len(twice),
        ends_missing=len(missing),
        silence=round(silence, 2),
        left=len(facts.left),
        erased=len(erased),
        overlap=round(_overlap(facts.runs), 3),
        wrong=wrong,
    )


def _erased(facts: Facts, unfinished: set[str]) -> set[str]:
    """What was acknowledged before everything was erased, and was not finished by then."""
    at = facts.erased_at
    if at is None:
        return set()
    return {event_id for event_id in unfinished if facts.ledger.entries[event_id].at <= at}


def _twice(runs: Iterable[Run]) -> set[str]:
    counts = Counter(run.event_id for run in runs if run.outcome not in _GOES_ON)
    return {event_id for event_id, count in counts.items() if count > 1}


def _silence(facts: Facts) -> float:
    """The longest time without a begin between the end of the fault and the end of the load."""
    begins = sorted(run.began for run in facts.runs if facts.mended < run.began < facts.quiet)
    times = [facts.mended, *begins, facts.quiet] if facts.quiet > facts.mended else []
    return max((after - before for before, after in pairwise(times)), default=0.0)


def _overlap(runs: Iterable[Run]) -> float:
    by_id: dict[str, list[Run]] = {}
    for run in runs:
        by_id.setdefault(run.event_id, []).append(run)
    longest = 0.0
    for several in by_id.values():
        several.sort(key=lambda run: run.began)
        for one, following in pairwise(several):
            until = one.ended or one.killed
            if until is not None:
                longest = max(longest, min(until, following.ended or until) - following.began)
    return longest


def _complaint(count: int, what: str, which: Iterable[str]) -> list[str]:
    if count <= 0:
        return []
    some = ", ".join(sorted(which)[:3])
    return [f"{count} {what} ({some}{', ...' if count > 3 else ''})"]
