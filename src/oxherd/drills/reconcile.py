"""Compares what was emitted with what ran and what is stored. Pure: evidence in, one row out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from oxherd.drills.ledger import EmitResult, Ledger

# After these outcomes an event runs again on purpose.
_RUNS_AGAIN = frozenset({"requeued", "retrying"})
_FINAL = frozenset({"completed", "failed", "timed_out", "cancelled", "discarded"})
_FINISHED_STATES = frozenset({"failed", "completed"})
_LONGEST_SILENCE = 5.0


@dataclass(slots=True)
class HandlerRun:
    """One run of a handler, in seconds since the Unix epoch; `killed` is when its worker was killed, if it was."""

    event_id: str
    fence: int
    began: float
    ended: float | None = None
    outcome: str | None = None
    killed: float | None = None


@dataclass(slots=True)
class Evidence:
    """What is known after a drill.

    `done` holds the events whose handler noted its end; `states` the state of each stored event. The load goes on
    from `fault_ended_at` to `load_ended_at`; `slots` is how many events the workers could run at once.
    """

    ledger: Ledger
    runs: list[HandlerRun]
    done: set[str]
    states: dict[str, str] = field(default_factory=dict[str, str])
    leftover_keys: list[str] = field(default_factory=list[str])
    undocumented: list[str] = field(default_factory=list[str])
    exit_errors: list[str] = field(default_factory=list[str])
    erased_at: float | None = None
    fault_ended_at: float = 0.0
    load_ended_at: float = 0.0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a drill may cost: whether events may run twice, whether it erases some, and how many it fails."""

    repeats: bool = False
    erases: bool = False
    fails: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a drill. `silence` and `overlap` are in seconds; `wrong` lists each broken promise.

    `overlap` is the longest time in which two runs of one event overlapped.
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


def reconcile(evidence: Evidence, expected: Expected) -> Row:
    """Account for every emit, every run and every key."""
    ledger, runs, states = evidence.ledger, evidence.runs, evidence.states
    acknowledged = ledger.ids(EmitResult.ACKNOWLEDGED)
    ran = {run.event_id for run in runs}
    finished = evidence.done | {run.event_id for run in runs if run.outcome in _FINAL}
    # An event whose worker died before it could log the end may be kept as failed.
    finished |= {event_id for event_id, state in states.items() if state in _FINISHED_STATES}
    erased = _erased(evidence, acknowledged - finished)
    unfinished = {event_id for event_id, state in states.items() if state not in _FINISHED_STATES} - erased
    lost = acknowledged - finished - unfinished - erased
    twice = _twice(runs)
    endless = [run.event_id for run in runs if run.outcome is None and run.killed is None]
    refused = ledger.ids(EmitResult.REFUSED) & (ran | set(states))
    failed = {run.event_id for run in runs if run.outcome in _FINAL and run.outcome != "completed"}
    failed |= {event_id for event_id, state in states.items() if state == "failed"}
    silence = _silence(evidence)
    wrong = [
        *_violation(len(lost), "acknowledged and lost", lost),
        *_violation(len(unfinished), "still in Redis", unfinished),
        *_violation(len(refused), "ran or stored although the emit was refused", refused),
        *_violation(len(ran - set(ledger.entries)), "ran but never emitted", ran - set(ledger.entries)),
        *_violation(max(0, len(failed) - expected.fails), "failed unexpectedly", failed),
        *_violation(len(twice) - (evidence.slots if expected.repeats else 0), "ran twice unexpectedly", twice),
        *_violation(len(endless), "begun without an end by a worker that was not killed", endless),
        *_violation(len(evidence.leftover_keys), "keys left over", evidence.leftover_keys),
        *_violation(len(evidence.undocumented), "undocumented log records", evidence.undocumented),
        *evidence.exit_errors,
    ]
    if silence > _LONGEST_SILENCE:
        wrong.append(f"no event begun for {silence:.1f} s after the fault")
    if expected.erases and not erased:
        wrong.append("nothing was there to be erased")
    return Row(
        emitted=len(ledger.entries),
        acknowledged=len(acknowledged),
        processed=len(acknowledged & finished),
        lost=len(lost),
        twice=len(twice),
        ends_missing=len(endless),
        silence=round(silence, 2),
        left=len(evidence.leftover_keys),
        erased=len(erased),
        overlap=round(_overlap(runs), 3),
        wrong=wrong,
    )


def _erased(evidence: Evidence, unfinished: set[str]) -> set[str]:
    """The unfinished events that were acknowledged before everything was erased."""
    at = evidence.erased_at
    if at is None:
        return set()
    return {event_id for event_id in unfinished if evidence.ledger.entries[event_id].at <= at}


def _twice(runs: Iterable[HandlerRun]) -> set[str]:
    counts = Counter(run.event_id for run in runs if run.outcome not in _RUNS_AGAIN)
    return {event_id for event_id, count in counts.items() if count > 1}


def _silence(evidence: Evidence) -> float:
    """The longest time without a begin between the end of the fault and the end of the load."""
    first, last = evidence.fault_ended_at, evidence.load_ended_at
    if last <= first:
        return 0.0
    begins = sorted(run.began for run in evidence.runs if first < run.began < last)
    return max(after - before for before, after in pairwise([first, *begins, last]))


def _overlap(runs: Iterable[HandlerRun]) -> float:
    by_id: dict[str, list[HandlerRun]] = {}
    for run in runs:
        by_id.setdefault(run.event_id, []).append(run)
    longest = 0.0
    for event_runs in by_id.values():
        event_runs.sort(key=lambda run: run.began)
        for run, following in pairwise(event_runs):
            until = run.ended or run.killed
            if until is not None:
                longest = max(longest, min(until, following.ended or until) - following.began)
    return longest


def _violation(count: int, what: str, which: Iterable[str]) -> list[str]:
    if count <= 0:
        return []
    some = ", ".join(sorted(which)[:3])
    return [f"{count} {what} ({some}{', ...' if count > 3 else ''})"]
