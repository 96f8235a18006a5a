"""The tokens of the locks that one queue's worker holds: its name, and a number for each of what it holds at once."""

from __future__ import annotations

import itertools
import os
import socket
from uuid import uuid4


class LockTokens:
    """Gives out tokens, used again once their jobs have ended: what is packed for one is packed once."""

    def __init__(self) -> None:
        # BullMQ shows it as `processedBy`.
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}"
        self._numbers = itertools.count()
        self._spare: list[str] = []

    def take(self) -> str:
        """A token that holds nothing."""
        return self._spare.pop() if self._spare else f"{self._worker}:{next(self._numbers)}"

    def give_back(self, token: str) -> None:
        """The token holds nothing any more, for certain."""
        self._spare.append(token)
