"""Reports what goes wrong with a queue: once for each cause, until it goes right again."""

from __future__ import annotations

from oxherd.bullmq.job import Job, event_id_text
from oxherd.declaration import is_name
from oxherd.redis.error_mapping import describe
from oxherd.signals import ErrorInfo, QueueFault, Signals

DAMAGED_JOB = ErrorInfo("DamagedJob", "the job cannot be read; it was taken off the queue")


def damaged_job(damage: str) -> ErrorInfo:
    """What is said of a job that cannot be read."""
    return ErrorInfo("DamagedJob", f"the job cannot be read: {damage}")


class FaultReporter:
    """A queue's faults. A cause that lasts (a damaged key) is reported once; a job's own faults each time."""

    def __init__(self, queue: str, signals: Signals) -> None:
        self._queue = queue
        self._signals = signals
        self._open: dict[str, set[str]] = {}

    def lasting(self, source: str, error: BaseException, job: Job | None = None) -> None:
        """A fault that repeats until somebody mends it."""
        text = describe(error)
        known = self._open.setdefault(source, set())
        if text not in known and len(known) < 16:
            known.add(text)
            self.of_job(source, ErrorInfo(type(error).__name__, text), job)

    def mended(self, source: str) -> None:
        """It went right: the next fault of that source is news again."""
        if self._open:
            self._open.pop(source, None)

    def of_job(self, source: str, error: ErrorInfo, job: Job | None) -> None:
        """A fault of one job."""
        if job is None:
            self._signals.emit(QueueFault(source=source, queue=self._queue, error=error))
            return
        self._signals.emit(
            QueueFault(
                source=source,
                queue=self._queue,
                error=error,
                # What is no event's name is not repeated: it may be anything.
                event=job.name if is_name(job.name) else None,
                event_id=event_id_text(self._queue, job.id),
                attempt=job.attempts_made + 1,
            )
        )

    def of_id(self, source: str, error: ErrorInfo, job_id: str) -> None:
        """A fault of a job of which only the id is known."""
        self._signals.emit(
            QueueFault(source=source, queue=self._queue, error=error, event_id=event_id_text(self._queue, job_id))
        )
