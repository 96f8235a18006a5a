"""An event's runs, from the traces that their failures have left in its job, and its last begin and end."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from oxherd.admin.moments import moment, seconds_since
from oxherd.admin.rows import AttemptInfo
from oxherd.admin.shown import ShownJob
from oxherd.bullmq.job import Job
from oxherd.bullmq.job_status import JobStatus
from oxherd.payload.failure import EventError
from oxherd.privacy.redaction import LONGEST_TEXT

_MOST = 10
_FRAME = "    at "
_TYPE = re.compile(r"[A-Za-z_][\w.]*")


def attempts_of_job(
    status: JobStatus, job: Job, shown: ShownJob, error: EventError | None, now_ms: int
) -> tuple[AttemptInfo, ...]:
    """The runs that are known, oldest first."""
    traces = _traces(job.stacktrace)
    failed = [_failed(trace, status.attempts_made - (len(traces) - 1 - n), shown) for n, trace in enumerate(traces)]
    runs_now = status.state == "running"
    if runs_now or status.state == "completed":
        number = max(1, status.attempts_made + 1 if runs_now else status.attempts_made)
        return (*failed, _timed(AttemptInfo(number, None, None, None, None, None, ()), status, now_ms))
    if not status.began_ms:
        return tuple(failed)
    *earlier, last = failed or [AttemptInfo(status.attempts_made or None, None, None, None, None, error, ())]
    # Node's field does not say the type, its trace does.
    if error is not None and (error.type or last.error is None):
        last = AttemptInfo(last.number, None, None, None, None, error, last.stack)
    return (*earlier, _timed(last, status, now_ms))


def _timed(run: AttemptInfo, status: JobStatus, now_ms: int) -> AttemptInfo:
    """The last run, of which a job has the worker and the times."""
    ended_ms = status.ended_ms if status.state in ("completed", "failed") else 0
    until = now_ms if status.state == "running" else ended_ms
    seconds = seconds_since(status.began_ms, until) if until else None
    times = moment(status.began_ms), moment(ended_ms), seconds
    return AttemptInfo(run.number, status.worker or None, *times, run.error, run.stack)


def _failed(trace: str, number: int, shown: ShownJob) -> AttemptInfo:
    """A run that has failed: `Type: message`, and a line for each frame."""
    lines = shown.text(trace, LONGEST_TEXT).split("\n")
    first = next((n for n, line in enumerate(lines) if line.startswith(_FRAME)), len(lines))
    text = "\n".join(lines[:first])
    kind, colon, message = text.partition(": ")
    is_typed = colon != "" and _TYPE.fullmatch(kind) is not None
    error = EventError(kind, message) if is_typed else EventError("", text)
    stack = tuple(line.removeprefix(_FRAME) for line in lines[first:] if line.startswith(_FRAME))
    # An operator's retry counts anew.
    return AttemptInfo(number if number >= 1 else None, None, None, None, None, error, stack)


def _traces(stored: bytes) -> list[str]:
    try:
        found: Any = json.loads(stored) if stored else []
    except (ValueError, RecursionError):
        return []
    traces = cast("list[Any]", found) if isinstance(found, list) else []
    return [each for each in traces if isinstance(each, str)][-_MOST:]
