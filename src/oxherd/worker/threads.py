"""What a handler starts in threads belongs to its event, in a process that is the worker's own.

Python begins a thread in an empty context; with `-X thread_inherit_context=1`, which 3.14 has, in a copy of its
starter's. So it is here where an event is handled. A pool's threads serve other events as well: what is handed to one
brings its context along.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, TypeVar

from oxherd.context import current

T = TypeVar("T")


@contextmanager
def carrying_events() -> Generator[None]:
    """Have `threading.Thread` and `ThreadPoolExecutor` take the event along from where one is handled."""
    plain_start, plain_submit = threading.Thread.start, ThreadPoolExecutor.submit

    def start(self: threading.Thread) -> None:
        if current.get() is None:
            plain_start(self)
            return
        _run_in(copy_context(), self)
        try:
            plain_start(self)
        except BaseException:
            vars(self).pop("run", None)
            raise

    def submit(self: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if current.get() is None:
            return plain_submit(self, fn, *args, **kwargs)
        # Outside the event's own context: a thread that the pool starts now is not this event's.
        return Context().run(plain_submit, self, copy_context().run, fn, *args, **kwargs)

    threading.Thread.start, ThreadPoolExecutor.submit = start, submit
    try:
        yield
    finally:
        # What another has put around ours stays; without an event ours do nothing.
        if threading.Thread.start is start:
            threading.Thread.start = plain_start
        if ThreadPoolExecutor.submit is submit:
            ThreadPoolExecutor.submit = plain_submit


def _run_in(context: Context, thread: threading.Thread) -> None:
    run = thread.run

    def in_context() -> None:
        vars(thread).pop("run", None)  # which knows the thread that knows it
        context.run(run)

    thread.run = in_context
