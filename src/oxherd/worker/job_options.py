"""A job's attempts, retry delay and retention: its own options, else its event's. Pure; no option makes it raise."""

from __future__ import annotations

import json
from typing import Any, cast

from oxherd.bullmq.answers import end_field
from oxherd.bullmq.job import Job
from oxherd.declaration import Declaration
from oxherd.policy import backoff_ms, keep_jobs
from oxherd.signals import ErrorInfo

# Node keeps all: a job that is tried often would grow without end.
_MAX_TRACES = 10
_BACKOFFS = ("exponential", "fixed")


def attempts_of(job: Job, declaration: Declaration | None) -> int:
    """How often a job may be tried."""
    if job.options.attempts is not None:
        return job.options.attempts
    return declaration.retry.attempts if declaration is not None else 1


def keep_of(job: Job, declaration: Declaration | None, target: str) -> dict[str, int]:
    """BullMQ's `keepJobs` for a job that ends in `target`: `completed` or `failed`.

    Unlimited for a job that says nothing and belongs to no event: a limit would remove others' jobs beside it.
    """
    name = "removeOnComplete" if target == "completed" else "removeOnFail"
    own = keep_jobs(job.options.get(name))
    if own is not None:
        return own
    return (keep_jobs(declaration.keep.options[name]) if declaration is not None else None) or {"count": -1}


def asks_backoff(job: Job, declaration: Declaration) -> bool:
    """Whether a function of the declaration's says when the job is tried again, should this attempt fail."""
    retry = declaration.retry
    if isinstance(retry.backoff, str) or job.attempts_made + 1 >= attempts_of(job, declaration):
        return False
    return _own_backoff(job) in (None, retry.options["backoff"])


def _own_backoff(job: Job) -> Any:
    """A job's `backoff` option; None if it has none that we know."""
    own: Any = job.options.get("backoff")
    is_foreign = isinstance(own, dict) and cast("dict[str, Any]", own).get("type") not in _BACKOFFS
    return None if is_foreign else cast("Any", own)  # a strategy of another program counts as missing


def retry_delay_ms(job: Job, declaration: Declaration | None) -> int:
    """Milliseconds before a job is tried again."""
    own = _own_backoff(job)
    declared = declaration.retry if declaration is not None else None
    if declared is not None and own in (None, declared.options["backoff"]):
        return backoff_ms(declared.options["backoff"], job.attempts_made + 1, float(declared.max_delay))  # pyright: ignore[reportArgumentType]
    return backoff_ms(own, job.attempts_made + 1, None)


def failure_fields(job: Job, error: ErrorInfo, outcome: str) -> list[Any]:
    """`failedReason` and `stacktrace` as BullMQ's moveToFailed writes them, the newest trace last; and our `ox:end`."""
    try:
        traces: Any = json.loads(job.stacktrace) if job.stacktrace else []
    except (ValueError, RecursionError):
        traces = []
    older = [each for each in cast("list[Any]", traces) if isinstance(each, str)] if isinstance(traces, list) else []
    trace = "\n".join([f"{error.type}: {error.message}", *(f"    at {frame}" for frame in reversed(error.stack))])
    limit = job.options.get("stackTraceLimit")
    most = limit if isinstance(limit, int) and limit >= 0 else _MAX_TRACES
    kept_traces = [*older, trace][-most:] if most else []
    end = end_field(outcome, error.type, error.message)
    return ["failedReason", error.message, "stacktrace", json.dumps(kept_traces), *end]
