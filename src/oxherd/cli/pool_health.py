"""Merges the health and the metrics of a supervisor's workers, for its health endpoint."""

from __future__ import annotations

import threading
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from oxherd.cli.supervisor_channel import HEALTH, METRICS, SupervisorChannel
from oxherd.telemetry.http.health_source import has_prometheus, text
from oxherd.telemetry.metrics.snapshot import Json, Snapshot, added, merged, merged_health
from oxherd.worker.health import BLOCKED_SECONDS, Facts, judge

_HEALTH_SECONDS = 1.0
# A worker takes up to 1.5 s itself where Redis or its event loop does not answer.
_METRICS_SECONDS = 2.5


class PoolHealth:
    """A supervisor's workers, of which `size` should run. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._channels: dict[int, SupervisorChannel] = {}
        self._retired: set[int] = set()
        self._totals: dict[int, Json] = {}
        self._ended_totals: Json = {}
        self.stopping = False

    def add(self, pid: int, channel: SupervisorChannel) -> None:
        """Add a worker that was started."""
        with self._lock:
            self._channels[pid] = channel

    def retire(self, pid: int) -> None:
        """A worker drains, and another takes its place: only its metrics still count."""
        with self._lock:
            self._retired.add(pid)

    def remove(self, pid: int) -> None:
        """Remove a worker that has ended; its counters, as last read, stay in the totals."""
        with self._lock:
            channel = self._channels.pop(pid, None)
            self._retired.discard(pid)
            totals = self._totals.pop(pid, None)
            if totals is not None:
                self._ended_totals = added(self._ended_totals, totals)
        if channel is not None:
            channel.close()

    def health(self) -> Json:
        """The merged `Health`, with each worker's own, and its `pid`, in `processes`."""
        with self._lock:
            retired = set(self._retired)
        replies = self._request_all(HEALTH, _HEALTH_SECONDS, retired)
        processes: list[Json] = [
            {"pid": pid, **(health or self._silent_health(channel))} for pid, channel, health in replies
        ]
        whole = merged_health(processes)
        whole["reasons"] = [
            f"Worker process {each['pid']}: {reason}" for each in processes for reason in each["reasons"]
        ]
        if self.stopping:
            whole["stopping"] = True
            whole["reasons"].insert(0, "The worker is stopping.")
        elif len(processes) < self._size:
            whole["reasons"].insert(0, f"{len(processes)} of {self._size} worker processes are running.")
        whole["ready"] = whole["ready"] and not whole["stopping"] and len(processes) >= self._size
        return whole | {"processes": processes}

    def metrics(self) -> tuple[str, bytes] | None:
        """The content type and text of the merged metrics; None without prometheus-client."""
        if not has_prometheus():
            return None
        replies = self._request_all(METRICS, _METRICS_SECONDS)
        snapshots = [(pid, Snapshot(**snapshot)) for pid, _, snapshot in replies if snapshot]
        health = self.health()
        with self._lock:
            # A worker that has ended meanwhile is counted among the ended ones, as it was last read.
            alive = [(pid, snapshot) for pid, snapshot in snapshots if pid in self._channels]
            self._totals |= {pid: snapshot.totals for pid, snapshot in alive}
            silent = [totals for pid, totals in self._totals.items() if pid not in dict(alive)]
            others = self._ended_totals
        for totals in silent:
            others = added(others, totals)
        return text(merged([snapshot for _, snapshot in alive], others, health))

    def _request_all(
        self, request: bytes, timeout: float, without: Container[int] = ()
    ) -> list[tuple[int, SupervisorChannel, Any]]:
        with self._lock:
            channels = [(pid, channel) for pid, channel in self._channels.items() if pid not in without]
        if not channels:
            return []
        with ThreadPoolExecutor(len(channels), thread_name_prefix="oxherd-pool-health") as pool:
            replies = [(pid, channel, pool.submit(channel.request, request, timeout)) for pid, channel in channels]
            return [(pid, channel, reply.result()) for pid, channel, reply in replies]

    def _silent_health(self, channel: SupervisorChannel) -> Json:
        """The health of a worker that does not answer; one that never has may still be loading its handlers."""
        silent = channel.silent_seconds
        reason = f"It has not answered for {silent:.0f} s." if channel.answered else "It has not answered yet."
        live = not channel.answered or silent <= BLOCKED_SECONDS
        return asdict(judge(Facts())) | {"live": live, "reasons": [reason]}
