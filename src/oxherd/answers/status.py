"""How an event is doing: `Status`, and `Update`s as it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from oxherd.bullmq.job_status import JobStatus
from oxherd.payload.failure import EventError

State = Literal["waiting", "delayed", "running", "waiting_children", "completed", "failed"]
UpdateKind = Literal["began", "progress", "retrying", "ended"]


@dataclass(frozen=True, slots=True)
class Status:
    """A stored event; times are aware datetimes, None where there is none.

    Attributes:
        state: `waiting`, `delayed`, `running`, `waiting_children`, `completed` or `failed`.
        paused: whether its queue is paused.
        attempt: from 1: the current one, or the last if it has ended; `fence` is how often it was begun.
        progress: what its handler stored last (JSON), or None.
        outcome: how its last run ended, in the log's words; None where that is not known.
        error: what failed its last run, or None.
        worker: the id of the worker that began it last (`WorkerInfo.id`), or None.
        due_at: when a delayed one is due.
    """

    state: State
    paused: bool
    attempt: int
    fence: int
    progress: Any
    outcome: str | None
    error: EventError | None
    worker: str | None
    emitted_at: datetime | None
    due_at: datetime | None
    began_at: datetime | None
    ended_at: datetime | None


def status_of(job: JobStatus) -> Status:
    """The status of a stored job."""
    ended = job.state in ("completed", "failed")
    return Status(
        state=job.state,  # pyright: ignore[reportArgumentType] - the script's words
        paused=job.paused,
        attempt=max(1, job.attempts_made if ended else job.attempts_made + 1),
        fence=job.fence,
        progress=job.progress,
        outcome=job.outcome or None,
        error=EventError(job.error_type, job.reason) if job.reason and job.state != "completed" else None,
        worker=job.worker or None,
        emitted_at=_moment(job.emitted_ms),
        due_at=_moment(job.due_ms),
        began_at=_moment(job.began_ms),
        ended_at=_moment(job.ended_ms) if ended else None,
    )


@dataclass(frozen=True, slots=True)
class Update:
    """Something that happened to an event.

    Attributes:
        kind: `began`, `progress`, `retrying` (it was put back on its queue) or `ended`.
        position: where it stands among the updates, for `updates(after=...)`.
        progress: with `progress`, what the handler stored (JSON).
        outcome: with `ended`, the log's word: completed, failed, timed_out, discarded, cancelled or expired.
        error: with `ended`, what failed it, if anything did.
    """

    kind: UpdateKind
    position: str
    progress: Any = None
    outcome: str | None = None
    error: EventError | None = None


def _moment(ms: int) -> datetime | None:
    return datetime.fromtimestamp(ms / 1000, UTC) if ms else None
