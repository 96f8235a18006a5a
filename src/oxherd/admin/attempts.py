"""An event's runs: what its job keeps of them, the traces that failures have left in it, and its last begin and end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from oxherd.admin.moments import moment, seconds_since
from oxherd.admin.rows import AttemptInfo
from oxherd.admin.shown import ShownJob
from oxherd.bullmq.job import Job
from oxherd.bullmq.job_status import JobStatus
from oxherd.bullmq.runs import Run, runs_of
from oxherd.payload.failure import EventError
from oxherd.privacy.redaction import LONGEST_TEXT
from oxherd.worker.running.outcome import Outcome

_MOST = 10
_FRAME = "    at "
_TYPE = re.compile(r"[A-Za-z_][\w.]*")
# As ours are; a worker of Node's may have any name.
_WORKER = re.compile(r"[\w.-]{1,255}:\d{1,10}:[0-9a-f]{12}")
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)


@dataclass(frozen=True, slots=True)
class _Trace:
    """What a failure has left: `Type: message`, and a line for each frame; `number`: its attempt, if known."""

    text: str
    number: int | None


def attempts_of_job(
    status: JobStatus, job: Job, shown: ShownJob, error: EventError | None, now_ms: int
) -> tuple[AttemptInfo, ...]:
    """The runs that are known, oldest first."""
    traces, runs = _traces(job.stacktrace, status.attempts_made), runs_of(job.runs)
    known = list(_joined(runs, traces, shown))
    if status.state in ("running", "completed"):
        return (*known, _current(status, now_ms))
    if not status.began_ms:
        return tuple(known)
    if runs and runs[-1].fence == status.fence:
        # The reason of the failure is whole, what is kept of its run is not.
        if status.state == "failed" and error is not None:
            known[-1] = replace(known[-1], error=error)
        return tuple(known)
    return _with_last(known, status, error, now_ms)


def _current(status: JobStatus, now_ms: int) -> AttemptInfo:
    """The run that goes on, or has completed the event."""
    runs_now = status.state == "running"
    number = max(1, status.attempts_made + 1 if runs_now else status.attempts_made)
    return _timed(_nothing_known(number, None if runs_now else Outcome.COMPLETED.value), status, now_ms)


def _with_last(
    known: list[AttemptInfo], status: JobStatus, error: EventError | None, now_ms: int
) -> tuple[AttemptInfo, ...]:
    """The runs, of whose last one only a trace is stored, or nothing."""
    is_unknown = not known or known[-1].worker is not None
    if is_unknown and known and status.state != "failed":
        return tuple(known)  # it was put back before its handler began
    *earlier, last = [*known, _nothing_known(status.attempts_made or None, None)] if is_unknown else known
    # Node's field does not say the type, its trace does.
    if error is not None and (error.type or last.error is None):
        last = replace(last, error=error)
    if status.state == "failed":
        last = replace(last, outcome=status.outcome or None)
    return (*earlier, _timed(last, status, now_ms))


def _nothing_known(number: int | None, outcome: str | None) -> AttemptInfo:
    return AttemptInfo(number, None, None, None, None, None, outcome, None, ())


def _timed(run: AttemptInfo, status: JobStatus, now_ms: int) -> AttemptInfo:
    """The last run, of which a job has the worker and the times."""
    ended_ms = status.ended_ms if status.state in ("completed", "failed") else 0
    until = now_ms if status.state == "running" else ended_ms
    return replace(
        run,
        fence=status.fence or None,
        worker=status.worker or None,
        began_at=moment(status.began_ms),
        ended_at=moment(ended_ms),
        seconds=seconds_since(status.began_ms, until) if until else None,
    )


def _joined(runs: list[Run], traces: list[_Trace], shown: ShownJob) -> Iterator[AttemptInfo]:
    """The runs, each with the trace that it has left; in between, the traces of others' runs."""
    traced: dict[int, int] = {}
    end = len(traces)
    for number in reversed(range(len(runs))):
        start = runs[number].trace_start
        found = next((n for n in reversed(range(end)) if start and traces[n].text.startswith(start)), None)
        if found is not None:
            traced[number] = end = found
    begin = 0
    for number, run in enumerate(runs):
        if number in traced:
            yield from (_failed(trace, shown) for trace in traces[begin : traced[number]])
            begin = traced[number] + 1
            yield _recorded(run, traces[traced[number]], shown)
        else:
            yield _recorded(run, None, shown)
    yield from (_failed(trace, shown) for trace in traces[begin:])


def _recorded(run: Run, trace: _Trace | None, shown: ShownJob) -> AttemptInfo:
    failed = None if trace is None else _failed(trace, shown)
    error = failed.error if failed is not None else None
    if error is None and run.error_type:
        error = shown.error(run.error_type, run.message)
    ended_ms = 0 if run.ran_ms is None else run.began_ms + run.ran_ms
    return AttemptInfo(
        number=run.attempt or None,
        fence=run.fence or None,
        worker=run.worker if _WORKER.fullmatch(run.worker) else shown.text(run.worker) or None,
        began_at=moment(run.began_ms),
        ended_at=moment(ended_ms),
        seconds=None if run.ran_ms is None else run.ran_ms / 1000,
        outcome=run.outcome if run.outcome in _OUTCOMES else None,
        error=error,
        stack=() if failed is None else failed.stack,
    )


def _failed(trace: _Trace, shown: ShownJob) -> AttemptInfo:
    """A run of which only its trace is stored."""
    lines = shown.text(trace.text, LONGEST_TEXT).split("\n")
    first = next((n for n, line in enumerate(lines) if line.startswith(_FRAME)), len(lines))
    text = "\n".join(lines[:first])
    kind, colon, message = text.partition(": ")
    is_typed = colon != "" and _TYPE.fullmatch(kind) is not None
    error = EventError(kind, message) if is_typed else EventError("", text)
    stack = tuple(line.removeprefix(_FRAME) for line in lines[first:] if line.startswith(_FRAME))
    return replace(_nothing_known(trace.number, None), error=error, stack=stack)


def _traces(stored: bytes, attempts_made: int) -> list[_Trace]:
    try:
        found: Any = json.loads(stored) if stored else []
    except (ValueError, RecursionError):
        return []
    each = cast("list[Any]", found) if isinstance(found, list) else []
    texts = [text for text in each if isinstance(text, str)][-_MOST:]
    numbers = range(attempts_made - len(texts) + 1, attempts_made + 1)
    # An operator's retry counts anew.
    return [_Trace(text, n if n >= 1 else None) for text, n in zip(texts, numbers, strict=True)]
