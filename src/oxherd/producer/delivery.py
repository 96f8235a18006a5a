"""Where a test kit takes a herd's emits, in place of Redis."""

from __future__ import annotations

from typing import Protocol

from oxherd.bullmq.answers import JobEnd
from oxherd.bullmq.job import NewJob
from oxherd.declaration import Declaration
from oxherd.schedule import Schedule


class Delivery(Protocol):
    """Takes validated jobs and schedules; may be called from any thread."""

    def end_of(self, job_id: str) -> JobEnd:
        """How a job that was taken ended.

        Raises:
            UsageError: it was not processed.
        """
        ...

    def cancel(self, job_id: str, reason: str) -> bool:
        """Cancel a job that was taken; returns whether there was something to cancel."""
        ...

    async def deliver(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        """Take jobs of one event, in order."""

    def deliver_sync(self, declaration: Declaration, jobs: list[NewJob], call: str) -> None:
        """`deliver` for a caller of `{call}_sync`, in its own thread.

        Raises:
            UsageError: an event loop runs there, as `Oxherd.run_sync`.
        """

    def schedule(self, declaration: Declaration, name: str, schedule: Schedule | None, data: bytes) -> bool:
        """Take a schedule, or with None its end; returns whether there was one before."""
        ...
