"""The executions of one queue's jobs: how they begin, follow each other, and end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

from oxherd.bullmq.job import Job, event_id_text
from oxherd.bullmq.replies import Fetched
from oxherd.context import Context, Stopping
from oxherd.signals import ErrorInfo, EventAttempt
from oxherd.worker.fetching.isolation import Isolation
from oxherd.worker.fetching.lock_tokens import LockTokens
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.fetching.unresolved_calls import UnresolvedCalls
from oxherd.worker.identity import Identity
from oxherd.worker.running.execution import Execution, ExecutionTask, Stage
from oxherd.worker.running.pipeline import Pipeline
from oxherd.worker.running.settling import Settler
from oxherd.worker.served_queue import ServedQueue


class Executions:
    """Runs each fetched job in a task of its own, and releases its slot at the end.

    Attributes:
        idle, busy: set while nothing runs, and while something does.
        held_at_drain: what ran when draining began, and what was fetched since.
    """

    def __init__(self, served: ServedQueue, slots: QueueSlots, isolation: Isolation, identity: Identity) -> None:
        self._queue = served.queue.keys.queue
        self._faults = served.faults
        self._slots = slots
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._draining = False
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()  # looking it up takes a system call, before Python 3.12
        self._on_end = self._ended  # bound once for all events
        self.held_at_drain: list[Execution] = []
        self.idle = asyncio.Event()
        self.idle.set()
        self.busy = asyncio.Event()
        self.tokens = LockTokens(identity)
        self.unresolved = UnresolvedCalls(served, lambda: [each.job for each in self])
        self.settler = Settler(served, self.unresolved, self._running.__len__)
        self.pipeline = Pipeline(served, self.settler, slots, isolation)

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Execution]:
        return iter(self._running.values())

    def holding(self) -> list[Execution]:
        """The executions that hold a slot."""
        return [execution for execution in self if not execution.slot_released]

    def attempt_in(self, task: asyncio.Task[Any]) -> EventAttempt | None:
        """The event that runs in this task, if one of this queue's; from any thread."""
        execution = self._running.get(task)
        if execution is None:
            return None
        return EventAttempt(execution.job.name, execution.event_id, execution.job.attempts_made + 1)

    def runs(self, context: Context) -> bool:
        """Whether a handler runs with this context; from any thread."""
        runs = [execution.run for execution in list(self._running.values())]
        return any(run is not None and run.context is context for run in runs)

    def begin(self, job: Job) -> None:
        """Start a fetched job, for which a slot is held."""
        execution = Execution(job, event_id_text(self._queue, job.id))
        # A copy for each event: what a handler sets in it must not reach the next.
        context = self._context.copy()
        # Python would have to make up a name.
        task = execution.task = ExecutionTask(
            self._process(execution), loop=self._loop, name=execution.event_id, context=context
        )
        if not self._running:
            self.idle.clear()
            self.busy.set()
        self._running[task] = execution
        if self._draining:
            self.held_at_drain.append(execution)
        task.add_done_callback(self._on_end, context=self._context)

    def drain(self) -> None:
        """Run no more handlers but those that run already; other jobs are put back. May be called again."""
        if self._draining:
            return
        self._draining = True
        self.held_at_drain = list(self)
        for execution in self.held_at_drain:
            execution.refuse()

    def interrupt(self) -> None:
        """The loop ends, and with it all tasks are cancelled: handlers stop, outcomes are written to the end."""
        self.drain()
        for execution in self:
            execution.cancel(Stopping())

    def reclaim_slots(self, ended_before: float) -> None:
        """Lend out the slots of handlers that ended before then (`time.perf_counter`), and whose outcome waits for
        Redis."""
        for execution in self.holding():
            run = execution.run
            if execution.stage is Stage.SETTLING and run is not None and run.ended_at < ended_before:
                execution.slot_released = True
                execution.admission.release()
                self._slots.release()

    def drop(self, execution: Execution) -> None:
        """Forget an execution whose handler cannot be ended; it holds nothing any more."""
        del self._running[execution.task]
        self._left(execution)

    async def _process(self, execution: Execution) -> None:
        if self._draining:
            await self.pipeline.requeue(execution)
            return
        try:
            following = await self.pipeline.process(execution)
        except GeneratorExit:
            # Where the handler awaits a future with this error, Python closes all that the task awaits instead.
            run, declaration = execution.run, execution.declaration
            if run is None or declaration is None or not execution.task.get_loop().is_running():
                raise
            following = await self.pipeline.conclude(execution, run, declaration)
        finally:
            execution.admission.release()
            execution.drop_run()
        if isinstance(following, Fetched) and following.job is not None:
            # The next job takes over the slot, so that there is never one too many.
            del self._running[execution.task]
            execution.task.remove_done_callback(self._on_end)
            if execution.slot_released:
                self._slots.acquire_over_limit()
            self.begin(following.job)

    def _ended(self, task: asyncio.Task[None]) -> None:
        execution = self._running.pop(task, None)
        if execution is None:
            return  # dropped
        lost = False
        if not task.cancelled() and (error := task.exception()) is not None:
            lost = execution.unwritten = True
            self._faults.of_job("finish", ErrorInfo(type(error).__name__, "an error inside oxherd"), execution.job)
        if not lost and execution.job.token not in self.unresolved:
            self.tokens.release(execution.job.token)
        self._left(execution)

    def _left(self, execution: Execution) -> None:
        if not self._running:
            self.idle.set()
            self.busy.clear()
        if not execution.slot_released:
            self._slots.release()
