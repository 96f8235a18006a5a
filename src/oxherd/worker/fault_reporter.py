"""Reports faults of a queue, each cause once until it is mended."""

from __future__ import annotations

from oxherd.bullmq.job import Job, event_id_text
from oxherd.declaration import is_name
from oxherd.redis.error_mapping import describe
from oxherd.signals import ErrorInfo, QueueFault, Signals

_MOST_CAUSES = 16


def damaged_job(damage: str) -> ErrorInfo:
    """The error of a job that cannot be read."""
    return ErrorInfo("DamagedJob", f"the job cannot be read: {damage}")


class FaultReporter:
    """Emits one queue's `QueueFault` signals."""

    def __init__(self, queue: str, signals: Signals) -> None:
        self._queue = queue
        self._signals = signals
        self._lasting: dict[str, set[str]] = {}  # reported causes, by source
        self._once: set[tuple[str, str]] = set()  # reported causes, by event

    def lasting(self, source: str, error: BaseException, job: Job | None = None) -> None:
        """Report a fault that repeats until someone mends it, such as a damaged key; only the first time."""
        text = describe(error)
        reported = self._lasting.setdefault(source, set())
        if text not in reported and len(reported) < _MOST_CAUSES:
            reported.add(text)
            info = ErrorInfo(type(error).__name__, text)
            if job is None:
                self.of_queue(source, info)
            else:
                self.of_job(source, info, job)

    def once(self, source: str, error: ErrorInfo, job: Job) -> None:
        """Report a fault that only another release mends; the first time for each event."""
        cause = (job.name, error.message)
        if cause not in self._once and len(self._once) < _MOST_CAUSES:
            self._once.add(cause)
            self.of_job(source, error, job)

    def mended(self, source: str) -> None:
        """Report the next lasting fault of this source again."""
        if self._lasting:
            self._lasting.pop(source, None)

    def of_queue(self, source: str, error: ErrorInfo) -> None:
        """Report a fault of the queue itself."""
        self._signals.emit(QueueFault(source=source, queue=self._queue, error=error))

    def of_job(self, source: str, error: ErrorInfo, job: Job) -> None:
        """Report a fault of one job."""
        self._signals.emit(
            QueueFault(
                source=source,
                queue=self._queue,
                error=error,
                # A job's name may be anything; only an event's name is safe to repeat.
                event=job.name if is_name(job.name) else None,
                event_id=event_id_text(self._queue, job.id),
                attempt=job.attempts_made + 1,
            )
        )

    def of_id(self, source: str, error: ErrorInfo, job_id: str) -> None:
        """Report a fault of a job of which only the id is known."""
        self._signals.emit(
            QueueFault(source=source, queue=self._queue, error=error, event_id=event_id_text(self._queue, job_id))
        )
