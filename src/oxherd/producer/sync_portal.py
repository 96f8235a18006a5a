"""Runs coroutines for synchronous callers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import Context
from typing import Any, TypeVar

from oxherd.context import running_loop
from oxherd.errors import UsageError

T = TypeVar("T")

_CLEAN_UP_SECONDS = 1.0  # for calls that were cancelled


def refuse_in_event_loop(method: str) -> None:
    """Raise if an event loop runs in this thread, which the synchronous form of `method` would block.

    Raises:
        UsageError: one does.
    """
    if running_loop() is not None:
        raise UsageError(
            f"{method}_sync would block the event loop that runs in this thread; await {method}(...) instead."
        )


class _PortalLoop(asyncio.SelectorEventLoop):
    """A loop whose blocking calls, such as the look-up of a host, run in a thread each.

    An executor's threads take no more calls once the main thread has ended, which other threads that emit may outlive.
    """

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
                future.set_exception(error)

        threading.Thread(target=run, name="oxherd-call", daemon=True).start()
        return asyncio.wrap_future(future, loop=self)


class SyncPortal:
    """An event loop in a thread of its own, for callers without one. Of no use in a forked child: check `pid`.

    Attributes:
        calls: how many callers are in `run`; it must not be closed meanwhile, or they would wait for ever.
        retired: whether it is to be closed after the last of them.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.retired = False
        self.loop: asyncio.AbstractEventLoop = _PortalLoop()
        self.pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="oxherd-sync", daemon=True)
        # A handler may be the first to need the portal; the thread must not inherit that event's context.
        try:
            Context().run(self._thread.start)
        except RuntimeError:  # no thread to be had
            self.loop.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for its result; a caller who is interrupted (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _run(self) -> None:
        while True:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue  # a coroutine's, over which asyncio leaves the loop; whoever has it run gets it
            return

    def close(self) -> None:
        """Stop the loop, once what interrupted callers have left in it has ended, and join its thread."""
        self.run(_others_end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _others_end() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_CLEAN_UP_SECONDS)
