"""Says once that a queue is paused, and once that it is resumed."""

from __future__ import annotations

from oxherd.signals import QueuePaused, QueueResumed, Signals
from oxherd.worker.served_events import ServedEvents


class PauseReporter:
    """Emits the signals of one queue, by what the heartbeat learns.

    Attributes:
        paused: whether it was paused at the last heartbeat; may be read from any thread.
    """

    def __init__(self, queue: str, events: ServedEvents, signals: Signals) -> None:
        self._queue = queue
        self._events = events
        self._signals = signals
        self.paused = False

    def note(self, paused: bool) -> None:
        """The queue is paused, or is not."""
        if paused == self.paused:
            return
        self.paused = paused
        signal = QueuePaused if paused else QueueResumed
        self._signals.emit(signal(self._events.names, self._queue))
