"""Why a job must not be run: pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from oxherd.bullmq.job import STALLED_REASON, Job
from oxherd.declaration import Declaration
from oxherd.signals import ErrorInfo
from oxherd.worker.fault_reporter import damaged_job

# The reason that BullMQ itself writes; any other program's may hold anything, and stays in Redis.
_CHILD_FAILED = re.compile(r"child \S{1,300} failed")


class Problem(NamedTuple):
    """Why a job fails without a run; `stored` is the reason for Redis where the log must not show it."""

    source: str
    error: ErrorInfo
    stored: ErrorInfo | None = None


def problem_of(job: Job, declaration: Declaration | None) -> Problem | None:
    """Why a job must not be run, if so."""
    if job.damage is not None or job.options.damaged:
        return Problem("data", damaged_job(job.damage or "its options are damaged"))
    if declaration is None:
        return Problem("data", ErrorInfo("UnknownEvent", "no event of the job's name is declared for this queue"))
    deferred = job.deferred_failure
    if deferred is not None and deferred != STALLED_REASON:
        shown = deferred if _CHILD_FAILED.fullmatch(deferred) else "another program lets it fail"
        return Problem("finish", ErrorInfo("DeferredFailure", shown), ErrorInfo("DeferredFailure", deferred))
    if deferred is not None or job.stalled > declaration.max_stalls:
        return Problem("stalled", ErrorInfo("Stalled", STALLED_REASON))
    if len(job.data) > declaration.max_payload:  # refused at an emit; other programs add what they like
        sizes = f"the payload is {len(job.data)} bytes of JSON and the limit is {declaration.max_payload} bytes"
        return Problem("data", ErrorInfo("PayloadTooLarge", f"{sizes}: send less, or raise max_payload"))
    return None
