"""Tells that the event loop is blocked, while it is: a thread of its own watches the loop's heartbeat."""

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
# How often the loop beats, and the thread looks: a block is known to a tenth of its least length.
_BEAT_SECONDS = 0.1
_JOIN_SECONDS = 0.5
# Who oversleeps while the process was suspended has seen it use next to no processor time, however long that was.
_LEAST_USED_SECONDS = 0.5


class LoopMonitor:
    """Watches the running loop from `start` to `stop`.

    `whose` finds the event that a task processes; it is called from the watching thread. Time in which the process was
    suspended does not count: the thread overslept as well then, and no processor time was used.
    """

    def __init__(
        self, emit: Callable[[Signal], None], whose: Callable[[asyncio.Task[Any]], EventAttempt | None]
    ) -> None:
        self._emit = emit
        self._whose = whose
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="oxherd-blocked", daemon=True)
        self._open: LoopBlocked | None = None
        self._open_since = 0.0
        self._emitting = False
        # When the loop turned last; when it could turn again after a time in which nothing could; when we looked last.
        self._beat = self._awake = self._looked = time.monotonic()
        self._used = time.process_time()

    def start(self) -> None:
        """Begin to watch."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        self._timer.cancel()
        self._thread.join(_JOIN_SECONDS)

    @property
    def blocked_seconds(self) -> float:
        """For how long the loop has been blocked by now; 0 where that is less than a second. From any thread."""
        # Where the thread did not look either, the process was suspended; but it may wait for a log that is blocked.
        seen = time.monotonic() if self._emitting else min(time.monotonic(), self._looked + 2 * _BEAT_SECONDS)
        blocked = seen - max(self._beat, self._awake)
        return blocked if blocked > BLOCKED_SECONDS and self._loop.is_running() else 0.0

    # -- in the loop

    def _turn(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._turn)

    # -- in the thread

    def _watch(self) -> None:
        while not self._over.wait(_BEAT_SECONDS) and not self._loop.is_closed():
            self._look()
        if self._over.is_set():
            self._end(time.monotonic())  # it was told so by the loop, which turns

    def _look(self) -> None:
        now, used, beat = time.monotonic(), time.process_time(), self._beat
        slept = now - self._looked
        overslept = slept > BLOCKED_SECONDS
        lock_held = overslept and used - self._used > _LEAST_USED_SECONDS
        self._looked, self._used = now, used
        if (overslept and not lock_held) or not self._loop.is_running():
            self._awake = now
        since = max(beat, self._awake)
        if self._open is not None:
            if beat > self._open_since:
                self._end(beat)
        elif now - since > BLOCKED_SECONDS:
            self._begin(since, now, beat, lock_held=lock_held)
        elif lock_held:
            self._begin(now - slept, now, 0.0, lock_held=True)

    def _begin(self, since: float, now: float, beat: float, *, lock_held: bool) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage]
        stack, whose = event_loop_stack(frame), self._whose_turn()
        if self._beat != beat:
            # It went on meanwhile, or before we could look: what was seen is something else.
            stack, whose = [], None
        self._open, self._open_since = LoopBlocked((now - since) * 1000, stack, whose, lock_held), since
        self._say(self._open)

    def _end(self, beat: float) -> None:
        ended, self._open = self._open, None
        if ended is not None:
            self._say(LoopUnblocked((beat - self._open_since) * 1000, ended.whose))

    def _whose_turn(self) -> EventAttempt | None:
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:  # an implementation that tells its own thread only
            return None
        return None if task is None else self._whose(task)

    def _say(self, signal: Signal) -> None:
        self._emitting = True
        try:
            self._emit(signal)
        finally:
            # A subscriber may take its time: that is not ours to have slept.
            self._looked, self._used = time.monotonic(), time.process_time()
            self._emitting = False
