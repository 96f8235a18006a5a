"""`inline`: runs handlers where their events are emitted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from inspect import isawaitable
from typing import Any

from oxherd.app import Oxherd
from oxherd.bullmq.answers import JobEnd
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.context import Context, current, running_loop
from oxherd.declaration import Declaration
from oxherd.direct_call import call_resolved
from oxherd.errors import UsageError
from oxherd.lineage import parse_lineage
from oxherd.producer.sync_portal import refuse_in_event_loop
from oxherd.resources.resolution import call_here
from oxherd.testing.captured import Captured, captured_emit, delivering
from oxherd.worker.running.result import encode_result

_in_def_handler: ContextVar[bool] = ContextVar("in_def_handler", default=False)


@contextmanager
def inline(herd: Oxherd) -> Generator[Captured]:
    """Run each event's handler at its emit, in the emitting thread, before the emit returns; yields what was emitted.

    The handler gets the payload as a worker would read it. What it raises, the emit raises: there is no retry, no
    timeout and no log, delays are not waited for, nothing expires, and nothing is held to be unique. An `async def`
    handler runs in the caller's event loop; under `emit_sync` in a loop of its own. Schedules are only kept.

    Raises, at an emit:
        DeclarationError: the event has no handler here.
    """
    with delivering(herd, delivery := _Inline(herd)):
        yield delivery


class _Inline(Captured):
    def __init__(self, herd: Oxherd) -> None:
        super().__init__()
        self._herd = herd
        self._ends: dict[str, JobEnd] = {}

    def end_of(self, job_id: str) -> JobEnd:
        if job_id not in self._ends:
            raise UsageError(
                "inline(herd) has no end of this event: it was not emitted under it, it failed, or its emit waits for "
                "the commit of a transaction; ask after the emit, or after the commit."
            )
        return self._ends[job_id]

    def cancel(self, job_id: str, reason: str) -> bool:  # noqa: ARG002 - it has ended, at its emit
        return False

    async def deliver(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        self.keep(declaration, jobs)
        for job in jobs:
            with self._called(declaration, job) as value:
                self._ends[job.id] = await _end(value, declaration)

    def deliver_sync(self, declaration: Declaration, jobs: list[NewJob], call: str) -> None:
        if not _in_def_handler.get():  # which a worker runs in a thread without an event loop
            refuse_in_event_loop(call)
        self.keep(declaration, jobs)
        for job in jobs:
            with self._called(declaration, job) as value:
                # A `def` handler needs no event loop, which Django refuses to be called from.
                self._ends[job.id] = (
                    _run(_end(value, declaration)) if isawaitable(value) else _ended(value, declaration)
                )

    @contextmanager
    def _called(self, declaration: Declaration, job: NewJob) -> Generator[Any]:
        handler = self._herd[declaration.name].handler_here()
        context = Context(event_id=job.id, event=job.name, emitted_ms=now_ms(), lineage=parse_lineage(job.metadata))
        is_current, is_def = current.set(context), _in_def_handler.set(handler.run_in != "loop")
        try:
            payload = captured_emit(declaration, job).payload
            if not handler.needs:
                yield handler.call(payload, context)
                return
            resolution = self._herd.resources.resolution(handler.needs, context)
            if handler.run_in == "loop" or resolution.needs_loop:
                yield call_resolved(handler, handler.call, payload, context, resolution)
            else:
                yield call_here(handler.call, payload, context, resolution)
        finally:
            _in_def_handler.reset(is_def)
            current.reset(is_current)


async def _end(value: Any, declaration: Declaration) -> JobEnd:
    while isawaitable(value):
        value = await value
    return _ended(value, declaration)


def _ended(value: Any, declaration: Declaration) -> JobEnd:
    return JobEnd(True, encode_result(value, declaration.max_payload).json)


def _run(coroutine: Coroutine[Any, Any, JobEnd]) -> JobEnd:
    """Run to the end in this thread or, where an event loop runs here, in another one."""
    if running_loop() is None:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(copy_context().run, asyncio.run, coroutine).result()
