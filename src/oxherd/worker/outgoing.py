"""Passes on which messages a worker has written to a queue's outbox, to the relay that sends them."""

from __future__ import annotations

from collections.abc import Callable

from oxherd.bullmq.outbox import Message


class Outgoing:
    """One queue's; what is written while nobody listens is left to a sweep."""

    def __init__(self) -> None:
        self.listener: Callable[[Message], None] | None = None

    def written(self, message: Message | None) -> None:
        """A message, if there is one, is in the outbox."""
        if message is not None and self.listener is not None:
            self.listener(message)
