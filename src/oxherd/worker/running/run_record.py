"""What a job keeps of a run that has ended, for its event's story."""

from __future__ import annotations

import time

from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import Job, worker_of
from oxherd.bullmq.runs import Run, with_run
from oxherd.signals import ErrorInfo
from oxherd.worker.running.execution import HandlerRun
from oxherd.worker.running.outcome import Outcome


def runs_with(job: Job, run: HandlerRun, outcome: Outcome, error: ErrorInfo | None) -> str:
    """The job's field `ox:runs` with this run."""
    ran_ms = round((run.ended_at - run.began_at) * 1000)
    ended_ms = now_ms() - round((time.perf_counter() - run.ended_at) * 1000)
    kind, message = ("", "") if error is None else (error.type, error.message)
    context = run.context
    record = Run(
        context.attempt, context.fence, worker_of(job.token), ended_ms - ran_ms, ran_ms, outcome.value, kind, message
    )
    return with_run(job.runs, record)
