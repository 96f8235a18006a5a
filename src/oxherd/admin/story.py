"""`show()`: one event's whole story, as far as it is stored."""

from __future__ import annotations

import asyncio
from uuid import UUID

from oxherd.admin.attempts import attempts_of_job
from oxherd.admin.locating import locate
from oxherd.admin.moments import moment
from oxherd.admin.rows import AttemptInfo, Story
from oxherd.admin.shown import Shown, ShownJob
from oxherd.admin.target import Herd, Place, asked, places
from oxherd.bullmq.job import Job
from oxherd.bullmq.job_log import log_lines
from oxherd.bullmq.job_status import JobStatus, job_status
from oxherd.bullmq.pausing import is_paused
from oxherd.declaration import is_name
from oxherd.event import Event
from oxherd.payload.failure import EventError
from oxherd.worker.job_options import attempts_of
from oxherd.worker.running.outcome import Outcome

_CAUSED = "What it caused in turn is not stored with it; effects() looks for it among what is stored."
_EARLIER = "Of some attempts only the errors are stored; the log of those who ran them has their workers and times."
_LOST = "When a lost run ended is not known: its worker died, or lost its lock."
_BEGINS = "{} of its {} begins are not stored: only the last ten runs are, and none before its handler began."
_ANOTHERS = "It was added or ended by another program, as far as can be told: its errors were redacted just now."


async def show(herd: Herd, event_id: UUID, event: str | None) -> Story | None:
    """The story of an event, looked for on the queues of one event or of all; None where nothing is stored."""
    found = (await locate(herd, await places(herd, event), [event_id])).get(event_id)
    if found is None:
        return None
    place, raw_id = found
    queue = place.queue
    text = raw_id.decode("utf-8", "backslashreplace")
    status, job, notes, now_ms = await asyncio.gather(
        asked(herd, queue, lambda: job_status(queue, text)),
        asked(herd, queue, lambda: queue.read(raw_id, "")),
        asked(herd, queue, lambda: log_lines(queue, text)),
        asked(herd, queue, queue.server_ms),
    )
    known = place.event_of(job.name)
    if status is None:
        return None
    paused = status.paused or (known is not None and await _is_paused(herd, place, known))
    return _story(place, event_id, known, status, job, notes, paused, now_ms)


async def _is_paused(herd: Herd, place: Place, event: Event[object, object]) -> bool:
    """Whether the event is: a shard that no worker has served yet is not paused itself."""
    home = (await herd.backend()).queue(event.declaration)
    return home is not place.queue and await asked(herd, home, lambda: is_paused(home))


def _story(
    place: Place,
    event_id: UUID,
    event: Event[object, object] | None,
    status: JobStatus,
    job: Job,
    notes: list[str],
    paused: bool,
    now_ms: int,
) -> Story:
    shown = Shown().job(event, job.data)
    ended = status.state in ("completed", "failed")
    attempt = max(1, status.attempts_made if ended else status.attempts_made + 1)
    error = _error(status, shown)
    attempts = attempts_of_job(status, job, shown, error, now_ms)
    lineage = job.lineage
    return Story(
        id=event_id,
        event=None if event is None else event.name,
        queue=place.queue.keys.queue,
        state=status.state,
        paused=paused,
        held=status.held,
        attempt=attempt,
        attempts_allowed=attempts_of(job, None if event is None else event.declaration),
        fence=status.fence,
        stalls=job.stalled + job.uncounted_stalls,
        priority=_priority(job),
        outcome=status.outcome or ("completed" if status.state == "completed" else None),
        error=error,
        worker=status.worker or None,
        emitted_at=moment(status.emitted_ms),
        due_at=moment(status.due_ms),
        began_at=moment(status.began_ms),
        ended_at=moment(status.ended_ms) if ended else None,
        expires_at=moment(job.expires_at_ms),
        cancel_reason=None if job.cancel_reason is None else shown.text(job.cancel_reason),
        schedule=_schedule(job, event),
        caused_by=_uuid(lineage.caused_by),
        root=_uuid(lineage.root),
        attempts=attempts,
        payload=shown.payload,
        payload_note=shown.note,
        payload_bytes=len(job.data),
        progress=status.progress if type(status.progress) in (int, float) else None,
        notes=tuple(shown.texts(notes)),
        not_known=_not_known(status, attempts),
    )


def _error(status: JobStatus, shown: ShownJob) -> EventError | None:
    if not status.reason or status.state == "completed":
        return None
    if status.outcome:  # a worker of ours has redacted it
        return EventError(status.error_type, status.reason)
    return shown.error("", status.reason)


def _not_known(status: JobStatus, attempts: tuple[AttemptInfo, ...]) -> tuple[str, ...]:
    sentences = [_CAUSED]
    if any(attempt.worker is None for attempt in attempts):
        sentences.append(_EARLIER)
    if any(attempt.outcome == Outcome.LOST for attempt in attempts):
        sentences.append(_LOST)
    if status.fence > len(attempts):
        sentences.append(_BEGINS.format(status.fence - len(attempts), status.fence))
    if status.reason and not status.outcome:
        sentences.append(_ANOTHERS)
    return tuple(sentences)


def _schedule(job: Job, event: Event[object, object] | None) -> str | None:
    if job.scheduler is None or event is None:
        return None
    name = job.scheduler if event.declaration.own_queue else job.scheduler.removeprefix(f"{event.name}/")
    return name if is_name(name) else None


def _priority(job: Job) -> int:
    found = job.options.get("priority")
    return found if type(found) is int else 0


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
