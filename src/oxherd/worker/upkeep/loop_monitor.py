"""Reports a blocked event loop while it is blocked, from a thread that watches the loop's heartbeat."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from oxherd.privacy.stack import event_loop_stack
from oxherd.signals import EventAttempt, LoopBlocked, LoopUnblocked, Signal

BLOCKED_SECONDS = 1.0
# The interval of the loop's beats and of the thread's looks.
_BEAT_SECONDS = 0.1
_JOIN_SECONDS = 0.5
# A suspended process uses no CPU while the thread oversleeps; one whose interpreter lock is held uses more than this.
_LEAST_CPU_SECONDS = 0.5


class LoopMonitor:
    """Watches the running loop between `start` and `stop`.

    `attempt_in` finds the event that runs in a task; it is called from the watching thread. Time in which the whole
    process was suspended does not count as blocked.
    """

    def __init__(
        self, emit: Callable[[Signal], None], attempt_in: Callable[[asyncio.Task[Any]], EventAttempt | None]
    ) -> None:
        self._emit = emit
        self._attempt_in = attempt_in
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="oxherd-blocked", daemon=True)
        self._blocked: LoopBlocked | None = None  # reported, not over yet
        self._blocked_since = 0.0
        self._emitting = False
        # When the loop beat last, when the process last resumed from a suspension, when the thread looked last.
        self._beat = self._resumed = self._looked = time.monotonic()
        self._cpu = time.process_time()

    def start(self) -> None:
        """Begin to watch."""
        self._schedule_beat()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._timer.cancel()
        self._thread.join(_JOIN_SECONDS)

    @property
    def blocked_seconds(self) -> float:
        """How long the loop has been blocked by now; 0 below a second. From any thread."""
        # If the thread did not look either, the process was suspended, unless a blocked log holds the thread up.
        now = time.monotonic() if self._emitting else min(time.monotonic(), self._looked + 2 * _BEAT_SECONDS)
        blocked = now - max(self._beat, self._resumed)
        return blocked if blocked > BLOCKED_SECONDS and self._loop.is_running() else 0.0

    # -- in the loop

    def _schedule_beat(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._schedule_beat)

    # -- in the thread

    def _watch(self) -> None:
        while not self._stopping.wait(_BEAT_SECONDS) and not self._loop.is_closed():
            self._look()
        if self._stopping.is_set():
            self._report_end(time.monotonic())  # the loop itself called `stop`

    def _look(self) -> None:
        now, cpu, beat = time.monotonic(), time.process_time(), self._beat
        slept = now - self._looked
        overslept = slept > BLOCKED_SECONDS
        lock_held = overslept and cpu - self._cpu > _LEAST_CPU_SECONDS
        self._looked, self._cpu = now, cpu
        if (overslept and not lock_held) or not self._loop.is_running():
            self._resumed = now
        since = max(beat, self._resumed)
        if self._blocked is not None:
            if beat > self._blocked_since:
                self._report_end(beat)
        elif now - since > BLOCKED_SECONDS:
            self._report(since, now, beat, lock_held=lock_held)
        elif lock_held:
            self._report(now - slept, now, 0.0, lock_held=True)

    def _report(self, since: float, now: float, beat: float, *, lock_held: bool) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage]
        stack, attempt = event_loop_stack(frame), self._current_attempt()
        if self._beat != beat:
            # The loop has gone on: this stack is not what blocked it.
            stack, attempt = [], None
        self._blocked, self._blocked_since = LoopBlocked((now - since) * 1000, stack, attempt, lock_held), since
        self._send(self._blocked)

    def _report_end(self, beat: float) -> None:
        ended, self._blocked = self._blocked, None
        if ended is not None:
            self._send(LoopUnblocked((beat - self._blocked_since) * 1000, ended.whose))

    def _current_attempt(self) -> EventAttempt | None:
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:  # implementations that answer their own thread alone
            return None
        return None if task is None else self._attempt_in(task)

    def _send(self, signal: Signal) -> None:
        self._emitting = True
        try:
            self._emit(signal)
        finally:
            # A slow subscriber is not a suspension.
            self._looked, self._cpu = time.monotonic(), time.process_time()
            self._emitting = False
