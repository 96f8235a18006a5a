"""A worker process: start, process until told to stop, stop in order, say how it went."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from oxherd.worker.stop_report import StopReport

# The event loop lets go of the interpreter at each call of the system, and waits for as long as another thread's turn
# lasts, where one computes: a `def` handler, or an exporter.
_PYTHONS_TURN_SECONDS = 0.005
_TURN_SECONDS = 0.0005
# What is in flight, or held for an exporter, comes and goes by the thousand without any garbage in it; to look through
# it each time took 6 % of an event's time. Python's own are that of versions up to 3.12, and from 3.13 on.
_PYTHONS_THRESHOLDS = (700, 2_000)
_THRESHOLD = 5_000
# How long the exit of a worker's process waits for threads, before it ends without them.
_LAST_SECONDS = 2.0

T = TypeVar("T")


class Herd(Protocol):
    """What a worker process needs of an `Oxherd`."""

    async def start(self) -> None: ...
    async def start_events(self, names: Iterable[str]) -> None: ...
    async def stop_when(self, time_over: asyncio.Event) -> StopReport: ...


def run(herd: Herd, events: list[str] | None, stop_timeout: float, *, wait_for: Iterable[threading.Thread] = ()) -> int:
    """Process until SIGTERM or SIGINT; the exit status: 0 when nothing is stranded, else 1.

    `events` limits it to those names; `stop_timeout` is in seconds. The second signal is as if that time were over.
    The process ends here where a handler cannot be ended, and later without the threads that do not end, but for those
    that the program wants it to `wait_for`.
    """
    # What is loaded by now stays: the collector need not walk it again and again while events come and go.
    gc.collect()
    gc.freeze()
    turns = _unless_chosen(sys.getswitchinterval(), (_PYTHONS_TURN_SECONDS,), sys.setswitchinterval, _TURN_SECONDS)
    collector = _unless_chosen(gc.get_threshold()[0], _PYTHONS_THRESHOLDS, gc.set_threshold, _THRESHOLD)
    with turns, collector, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        report = runner.run(_serve(herd, events, stop_timeout))
        status = 1 if report.left_behind else 0
        if report.stuck:
            _end(status)  # no old run may go on beside the new one
        # The runner would wait, without an end, for each thread of the executor that its loop has.
        runner.get_loop().set_default_executor(ThreadPoolExecutor())
    _bound_exit(status, [thread for thread in wait_for if not thread.daemon and thread is not threading.main_thread()])
    return status


def _bound_exit(status: int, wait_for: list[threading.Thread]) -> None:
    """Python's exit waits for every thread that is no daemon: have it end after a while, where one does not end."""
    pool = ThreadPoolExecutor(1)
    idle = pool.submit(threading.current_thread).result()
    threads_are_done = threading.Event()
    atexit.register(threads_are_done.set)  # the exit's next step, of which each may take its time

    def watch(_: ThreadPoolExecutor) -> None:
        idle.join()  # a pool's idle thread ends as soon as Python begins to exit
        for thread in wait_for:
            thread.join()
        if not threads_are_done.wait(_LAST_SECONDS):
            _end(status)

    threading.Thread(target=watch, args=(pool,), name="oxherd-exit", daemon=True).start()


def _end(status: int) -> None:
    """End the process now, whatever its threads do; what was written so far is out."""
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


@contextmanager
def _unless_chosen(now: T, own: tuple[T, ...], set_it: Callable[[T], object], ours: T) -> Generator[None]:
    """Have one of Python's settings as it is best for a worker, where it is as Python's `own`."""
    if now not in own:
        yield
        return
    set_it(ours)
    try:
        yield
    finally:
        set_it(now)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, where there is uvloop: its turns cost a sixth less of an event."""
    try:
        from uvloop import new_event_loop
    except ImportError:  # on Windows and PyPy
        return None
    return new_event_loop


async def _serve(herd: Herd, events: list[str] | None, stop_timeout: float) -> StopReport:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    time_over = asyncio.Event()

    def on_signal() -> None:
        if told.is_set():
            time_over.set()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if events is None:
        await herd.start()
    else:
        await herd.start_events(events)
    await told.wait()
    loop.call_later(stop_timeout, time_over.set)
    return await herd.stop_when(time_over)
