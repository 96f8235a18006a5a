"""Turns a storm of failures into one `redis.error` and one `redis.recovered`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oxherd.redis.error_mapping import describe
from oxherd.signals import ErrorInfo, RedisFault, RedisRecovered, Signal

CLUSTER = "cluster"
CONNECTION = "connection"
# A cause that has not shown itself again for so long is over, also when nobody has tried it successfully since.
_STALE_SECONDS = 30.0


class Outages:
    """The outages that are open now, by node; safe to use from several threads.

    A node's outage opens at its first failure and closes when each of its causes has gone: a lost connection is
    mended by a new one, a refused command by one of the same kind that succeeds. So a command that is refused among
    others that work is one outage, not a series. The cluster's own refusals (CLUSTERDOWN) open an outage only while no
    node's is open, since they have its cause.
    """

    def __init__(self, emit: Callable[[Signal], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._causes: dict[str, dict[str, float]] = {}
        self._connected: set[str] = set()
        self.open = False

    def down(self, node: str, source: str, error: BaseException, cause: str = CONNECTION) -> None:
        """Note a failure of a node, and its cause; the first of an outage is reported."""
        now = time.monotonic()
        with self._lock:
            if node in self._since:
                self._causes[node][cause] = now
                return
            if node == CLUSTER and self._since:
                return
            self._since[node] = now
            self._causes[node] = {cause: now}
            self.open = True
        self._emit(RedisFault(source=source, node=node, error=ErrorInfo(type(error).__name__, describe(error))))

    def up(self, node: str, cause: str = CONNECTION) -> None:
        """Note that a cause is gone; the end of the outage, with its last cause, is reported."""
        now = time.monotonic()
        with self._lock:
            causes = self._causes.get(node)
            if causes is None:
                return
            causes.pop(cause, None)
            for other in [other for other, seen in causes.items() if now - seen > _STALE_SECONDS]:
                del causes[other]
            if causes:
                return
            since = self._close(node)
        self._emit(RedisRecovered(node=node, outage_ms=(now - since) * 1000))

    def nodes(self) -> list[str]:
        """The nodes (or `cluster`) that have an outage now."""
        with self._lock:
            return list(self._since)

    def connected(self, node: str) -> None:
        """Note a node that we have connected to."""
        with self._lock:
            self._connected.add(node)

    def left(self, node: str) -> None:
        """Note a node whose connections are closed for good."""
        with self._lock:
            self._connected.discard(node)

    def states(self) -> dict[str, bool]:
        """The nodes that we have connected to or have an outage, and whether they serve us."""
        with self._lock:
            return dict.fromkeys(sorted(self._connected), True) | dict.fromkeys(self._since, False)

    def forget(self, node: str) -> None:
        """The node is needed no more: whatever ailed it is over."""
        now = time.monotonic()
        with self._lock:
            if node not in self._since:
                return
            since = self._close(node)
        self._emit(RedisRecovered(node=node, outage_ms=(now - since) * 1000))

    def _close(self, node: str) -> float:
        del self._causes[node]
        since = self._since.pop(node)
        self.open = bool(self._since)
        return since
