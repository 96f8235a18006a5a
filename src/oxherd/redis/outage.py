"""Turns a storm of failures into one `redis.error` and one `redis.recovered`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oxherd.redis.faults import describe
from oxherd.signals import ErrorInfo, RedisFault, RedisRecovered, Signal

CLUSTER = "cluster"


class Outages:
    """The outages that are open now, by node; safe to use from several threads.

    A node's outage opens at the first failure and closes when the node serves again, or is no longer needed. The
    cluster's own refusals (CLUSTERDOWN) open an outage only while no node's outage is open, since they have its cause.
    """

    def __init__(self, emit: Callable[[Signal], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self.open = False

    def down(self, node: str, source: str, error: BaseException) -> None:
        """Note a failure of a node; the first of an outage is reported."""
        with self._lock:
            if node in self._since or (node == CLUSTER and self._since):
                return
            self._since[node] = time.monotonic()
            self.open = True
        self._emit(RedisFault(source=source, node=node, error=ErrorInfo(type(error).__name__, describe(error))))

    def up(self, node: str) -> None:
        """Note that a node serves, or is needed no more; the end of an outage is reported."""
        with self._lock:
            since = self._since.pop(node, None)
            self.open = bool(self._since)
        if since is not None:
            self._emit(RedisRecovered(node=node, outage_ms=(time.monotonic() - since) * 1000))
