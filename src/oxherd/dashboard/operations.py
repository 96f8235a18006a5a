"""Bulk operations that pages have begun: they go on in this process, whoever looks, until they end or are stopped."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from uuid import uuid4

from oxherd.admin import Admin, Audited, Progress, Summary
from oxherd.admin.operation import Operation
from oxherd.errors import OxherdError, UsageError

_MOST_RUNNING = 10
_MOST_KEPT = 100
_log = logging.getLogger("oxherd.dashboard")


@dataclass(slots=True)
class Running:
    """An operation, and how far it is.

    Attributes:
        title: what it does, as its question had it.
        back: the address of the page that it was begun on.
        audited: what the audit log says of it, its numbers apart.
        error: why it has ended before its end.
        is_told_to_stop: since it last went on.
    """

    title: str
    back: str
    operation: Operation
    audited: Audited
    id: str = field(default_factory=lambda: uuid4().hex)
    progress: Progress = field(default_factory=lambda: Progress(0, 0, None))
    error: str | None = None
    is_told_to_stop: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it acts."""
        return self.task is not None and not self.task.done()

    def stop(self) -> None:
        """End it after the batch that is under way, or after its first."""
        self.is_told_to_stop = True
        self.operation.stop()

    @property
    def summary(self) -> Summary:
        """What it has done."""
        return self.operation.summary

    @property
    def outcome(self) -> str:
        """How it ended, as the audit log has it."""
        if self.error is not None:
            return "failed"
        return "done" if self.summary.complete else "stopped"


class Operations:
    """Those that run, and the last that have ended."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._all: OrderedDict[str, Running] = OrderedDict()
        # Whose beginning is being recorded.
        self._beginning: set[str] = set()

    def get(self, operation_id: str) -> Running | None:
        """An operation by its id; None of one that this process does not know any more."""
        return self._all.get(operation_id)

    async def begin(self, running: Running) -> None:
        """Begin an operation, once its beginning is in the audit log.

        Raises:
            UsageError: ten run already.
            RedisUnavailable: the audit log cannot be written.
        """
        await self._record_begin(running)
        self._all[running.id] = running
        ended = [each.id for each in self._all.values() if not each.is_running and each is not running]
        for old in ended[: max(0, len(self._all) - _MOST_KEPT)]:
            del self._all[old]
        self._go(running)

    async def go_on(self, running: Running, who: str) -> None:
        """Go on with one that was stopped, or has failed, on behalf of whoever says so; raises as `begin`."""
        if running.is_running or running.id in self._beginning:
            return
        running.audited = replace(running.audited, who=who)
        await self._record_begin(running)
        running.error, running.is_told_to_stop = None, False
        self._go(running)

    async def _record_begin(self, running: Running) -> None:
        if sum(each.is_running for each in self._all.values()) + len(self._beginning) >= _MOST_RUNNING:
            raise UsageError(f"{_MOST_RUNNING} operations run already; wait for one to end, or stop one.")
        self._beginning.add(running.id)
        try:
            await self._admin.record(replace(running.audited, outcome="begun"))
        finally:
            self._beginning.discard(running.id)

    def _go(self, running: Running) -> None:
        running.task = asyncio.get_running_loop().create_task(self._run(running))

    async def _run(self, running: Running) -> None:
        try:
            async for progress in running.operation:
                running.progress = progress
                if running.is_told_to_stop:  # before it had begun
                    running.operation.stop()
        except OxherdError as error:
            running.error = str(error)
        except Exception as error:
            running.error = f"A fault of the dashboard ({type(error).__name__}); its log says more."
            _log.error("dashboard: %s ended by a fault of ours (%s)", running.audited.action, type(error).__name__)
            raise
        finally:
            await self._record_end(running)

    async def _record_end(self, running: Running) -> None:
        done = running.summary
        entry = replace(running.audited, done=done.done, skipped=done.skipped, outcome=running.outcome)
        try:
            await self._admin.record(entry)
        except OxherdError as error:
            _log.warning("dashboard: the end of %s is not in the audit log: %s", entry.action, error)
