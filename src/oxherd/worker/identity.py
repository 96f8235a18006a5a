"""Who a worker is: the id that all of its queues share, and the numbers of its lock tokens."""

from __future__ import annotations

import itertools
import os
import socket
from uuid import uuid4


class Identity:
    """A worker's id, which BullMQ shows as `processedBy`; `version` is the application's.

    Attributes:
        token_numbers: no lock token of the worker has the number of another, whatever the queue.
    """

    def __init__(self, version: str | None = None) -> None:
        self.version = version
        self.host = socket.gethostname() or "localhost"
        self.pid = os.getpid()
        self.id = f"{self.host}:{self.pid}:{uuid4().hex[:12]}"
        self.token_numbers = itertools.count()
