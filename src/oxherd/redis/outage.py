"""Turns a storm of failures into one `redis.error` and one `redis.recovered`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from oxherd.redis.error_mapping import describe
from oxherd.signals import ErrorInfo, RedisFault, RedisRecovered, Signal

CLUSTER = "cluster"
CONNECTION = "connection"
# A cause not seen for so long is over, even if nothing has succeeded since.
_STALE_SECONDS = 30.0


class Outages:
    """The open outages by node; thread-safe.

    A node's outage opens at its first failure and closes when each of its causes is gone: a lost connection by a new
    one, a refused command by one of the same name that succeeds. So a command that is refused while others work is one
    outage, not a series. A connection that is lost and can be replaced is none. The cluster's own errors (CLUSTERDOWN)
    open an outage only while no node's is open, since they follow from it.
    """

    def __init__(self, emit: Callable[[Signal], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._causes: dict[str, dict[str, float]] = {}
        self._recovered: dict[str, float] = {}
        self._connected: set[str] = set()
        self.open = False

    def down(
        self, node: str, source: str, error: BaseException, cause: str = CONNECTION, *, since: float = math.inf
    ) -> None:
        """Note a failure of a node; the first of an outage emits RedisFault.

        `since` (monotonic seconds) is when the connection that was lost had been opened, or when the attempt that
        failed began: before the node's last recovery, it belongs to the outage that ended then.
        """
        now = time.monotonic()
        with self._lock:
            if since < self._recovered.get(node, 0.0):
                return
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
        """Note that a cause is gone; the last of an outage emits RedisRecovered."""
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
            since = self._close(node, now)
        self._emit(RedisRecovered(node=node, outage_ms=(now - since) * 1000))

    def nodes(self) -> list[str]:
        """The nodes (or `cluster`) with an open outage."""
        with self._lock:
            return list(self._since)

    def connected(self, node: str) -> None:
        """Note that a node is connected."""
        with self._lock:
            self._connected.add(node)

    def closed(self, node: str) -> None:
        """Note that a node's connections are closed for good."""
        with self._lock:
            self._connected.discard(node)

    def states(self) -> dict[str, bool]:
        """Whether each node that is connected or has an outage serves us."""
        with self._lock:
            return dict.fromkeys(sorted(self._connected), True) | dict.fromkeys(self._since, False)

    def forget(self, node: str) -> None:
        """Close the outage of a node that is no longer needed."""
        now = time.monotonic()
        with self._lock:
            if node not in self._since:
                return
            since = self._close(node, now)
        self._emit(RedisRecovered(node=node, outage_ms=(now - since) * 1000))

    def _close(self, node: str, now: float) -> float:
        del self._causes[node]
        self._recovered[node] = now
        since = self._since.pop(node)
        self.open = bool(self._since)
        return since
