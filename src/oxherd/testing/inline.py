"""`inline`: runs handlers where their events are emitted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from oxherd.app import Oxherd
from oxherd.bullmq.clock import now_ms
from oxherd.bullmq.job import NewJob
from oxherd.context import Context, current
from oxherd.declaration import Declaration
from oxherd.lineage import parse_lineage
from oxherd.testing.captured import Captured, captured_emit, delivering


@contextmanager
def inline(herd: Oxherd) -> Generator[Captured]:
    """Run each event's handler at its emit, in the emitting thread, before the emit returns; yields what was emitted.

    The handler gets the payload as a worker would read it. What it raises, the emit raises: there is no retry, no
    timeout and no log, and delays are not waited for. An `async def` handler runs in the caller's event loop; under
    `emit_sync` in a loop of its own. Schedules are only kept.

    Raises, at an emit:
        DeclarationError: the event has no handler here.
    """
    with delivering(herd, delivery := _Inline(herd)):
        yield delivery


class _Inline(Captured):
    def __init__(self, herd: Oxherd) -> None:
        super().__init__()
        self._herd = herd

    async def deliver(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        await super().deliver(declaration, jobs)
        event = self._herd[declaration.name]
        for job in jobs:
            payload, context = captured_emit(declaration, job).payload, _context(job)
            token = current.set(context)
            try:
                if event.is_async:
                    await event(payload, context)
                else:
                    event.call(payload, context)
            finally:
                current.reset(token)

    def deliver_sync(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        coroutine = self.deliver(declaration, jobs)
        if self._herd[declaration.name].is_async:
            _run(coroutine)
            return
        # Nothing in it suspends: it needs no event loop, which Django refuses to be called from.
        try:
            coroutine.send(None)
        except StopIteration:
            return
        finally:
            coroutine.close()


def _context(job: NewJob) -> Context:
    return Context(event_id=job.id, event=job.name, emitted_ms=now_ms(), lineage=parse_lineage(job.metadata))


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end in this thread or, where an event loop runs here, in another one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    with ThreadPoolExecutor(1) as executor:
        executor.submit(copy_context().run, asyncio.run, coroutine).result()
