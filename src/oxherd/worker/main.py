"""A worker process: starts a herd, processes until a signal, stops in order, and returns the exit status."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from oxherd.errors import is_interrupt
from oxherd.signals import Signals
from oxherd.worker.lifetime import Lifetime
from oxherd.worker.stop_report import StopReport
from oxherd.worker.unhandled import log_unhandled

# The event loop gives up the interpreter lock at each system call, and then waits for as long as another thread that
# computes (a `def` handler, an exporter) may keep it.
_PYTHON_SWITCH_SECONDS = 0.005
_SWITCH_SECONDS = 0.0005
# Events in flight, and spans that wait for export, come and go by the thousand without being garbage: walking them
# took 6 % of an event's time. Python's own thresholds are those up to 3.12, and from 3.13 on.
_PYTHON_THRESHOLDS = (700, 2_000)
_THRESHOLD = 5_000
# What idle threads need to end at the exit. Others may run what was put back: they are not waited for.
_EXIT_SECONDS = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

T = TypeVar("T")

logger = logging.getLogger("oxherd")


class Herd(Protocol):
    """What a worker process needs of an `Oxherd`."""

    async def start(self) -> None: ...
    async def start_events(self, names: Iterable[str]) -> None: ...
    async def stop_when(self, time_over: asyncio.Event) -> StopReport: ...
    @property
    def running(self) -> int: ...
    @property
    def signals(self) -> Signals: ...


def run(
    herd: Herd,
    events: list[str] | None,
    stop_timeout: float,
    *,
    wait_for: Iterable[threading.Thread] = (),
    ends_process: bool = False,
    max_events: int | None = None,
    on_retirement: Callable[[], None] = lambda: None,
) -> int:
    """Process until SIGTERM or SIGINT; returns the exit status, 0 when nothing is left behind, else 1.

    `events` limits it to those names; `stop_timeout` is in seconds, and a second signal ends it at once. The process
    ends here if a handler cannot be ended; otherwise at Python's exit, without threads that do not end, except those in
    `wait_for`. After `max_events` events, or up to a tenth more, it calls `on_retirement`, and ends once all that runs
    has ended by itself. With `ends_process` signals are ignored from the report on: the status is that of the stop.
    """
    log_unhandled()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # The collector need not walk, again and again, what is loaded by now.
    gc.collect()
    gc.freeze()
    switches = _setting(sys.getswitchinterval(), (_PYTHON_SWITCH_SECONDS,), sys.setswitchinterval, _SWITCH_SECONDS)
    collector = _setting(gc.get_threshold()[0], _PYTHON_THRESHOLDS, gc.set_threshold, _THRESHOLD)
    with switches, collector, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        report = _run_to_end(runner.get_loop(), _serve(herd, events, stop_timeout, max_events, on_retirement))
        status = 1 if report.left_behind else 0
        if report.stuck:
            _exit(status)  # the old run must not go on beside the new one
        # The runner would wait without limit for the threads of the loop's own executor.
        runner.get_loop().set_default_executor(ThreadPoolExecutor())
        # The loop's end gives them back their default, which kills.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN)  # forgets those that came meanwhile
        if not ends_process:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _bound_exit(status, [thread for thread in wait_for if not thread.daemon and thread is not threading.main_thread()])
    return status


def _bound_exit(status: int, wait_for: list[threading.Thread]) -> None:
    """Limit how long Python's exit waits for threads that are not daemons."""
    pool = ThreadPoolExecutor(1)
    idle = pool.submit(threading.current_thread).result()
    threads_ended = threading.Event()
    atexit.register(threads_ended.set)  # the exit's next step; its callbacks may take their time

    def watch(_: ThreadPoolExecutor) -> None:
        idle.join()  # a pool's idle thread ends as soon as Python begins to exit
        for thread in wait_for:
            thread.join()
        if not threads_ended.wait(_EXIT_SECONDS):
            _exit(status)

    threading.Thread(target=watch, args=(pool,), name="oxherd-exit", daemon=True).start()


def _exit(status: int) -> None:
    """End the process now, whatever its threads do, with its output flushed."""
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


@contextmanager
def _setting(now: T, defaults: tuple[T, ...], set_it: Callable[[T], object], ours: T) -> Generator[None]:
    """Change one of Python's settings, unless the application has."""
    if now not in defaults:
        yield
        return
    set_it(ours)
    try:
        yield
    finally:
        set_it(now)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, if installed: it takes a sixth off an event's time."""
    try:
        from uvloop import new_event_loop
    except ImportError:  # on Windows and PyPy
        return None
    return new_event_loop


def _run_to_end(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, whatever other tasks raise: asyncio leaves its loop over a SystemExit of theirs.

    A signal is no KeyboardInterrupt here: it has a handler before any event begins.
    """
    task = loop.create_task(coroutine)
    while True:
        try:
            return loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit) as error:
            if task.done() or is_interrupt(error):
                raise
            message = f"a task or callback raised {type(error).__name__}"
            loop.call_exception_handler({"message": message, "exception": error})


async def _start(herd: Herd, events: list[str] | None) -> None:
    if events is None:
        await herd.start()
    else:
        await herd.start_events(events)


async def _serve(
    herd: Herd, events: list[str] | None, stop_timeout: float, max_events: int | None, on_retirement: Callable[[], None]
) -> StopReport:
    loop = asyncio.get_running_loop()
    told, ends, time_over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    lifetime = None if max_events is None else Lifetime(herd.signals, max_events, ends.set)

    def on_signal() -> None:
        if told.is_set():
            time_over.set()
        else:
            loop.call_later(stop_timeout, time_over.set)
        told.set()
        ends.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    starting = loop.create_task(_start(herd, events))
    waiting = loop.create_task(ends.wait())
    # A lifespan may take its time to open.
    await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await waiting
    else:
        starting.cancel()
        await asyncio.wait([starting])
    if lifetime is not None:
        lifetime.close()
        if not told.is_set():
            logger.info("this process has ended %d events, and is replaced", lifetime.most)
            on_retirement()
    if told.is_set() and herd.running:
        plural = "s" if herd.running > 1 else ""
        logger.info("draining %d event%s; a second signal puts back what runs", herd.running, plural)
    return await herd.stop_when(time_over)
