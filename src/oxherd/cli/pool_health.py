"""What the health endpoint of a supervisor answers with: its workers' health and numbers, made one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from oxherd.cli.supervisor_channel import HEALTH, NUMBERS, Channel
from oxherd.telemetry.http.health_source import has_prometheus, text
from oxherd.telemetry.metrics.snapshot import Json, Snapshot, added, merged, merged_health
from oxherd.worker.health import BLOCKED_SECONDS, Facts, judge

_HEALTH_SECONDS = 1.0
# A worker itself takes up to 1.5 s, where Redis or its loop does not answer.
_NUMBERS_SECONDS = 2.5


class Fleet:
    """The workers of a supervisor, of which there should be so many; asked from any thread."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}
        self._last: dict[int, Json] = {}
        self._ended: Json = {}
        self.stopping = False

    def began(self, pid: int, channel: Channel) -> None:
        """A worker was started."""
        with self._lock:
            self._channels[pid] = channel

    def ended(self, pid: int) -> None:
        """A worker has ended; what it had counted when it was asked last stays counted."""
        with self._lock:
            channel = self._channels.pop(pid, None)
            last = self._last.pop(pid, None)
            if last is not None:
                self._ended = added(self._ended, last)
        if channel is not None:
            channel.close()

    def health(self) -> Json:
        """As `Health`, for all together, and `processes`: each one's own, with its `pid`."""
        told = self._ask(HEALTH, _HEALTH_SECONDS)
        processes: list[Json] = [{"pid": pid, **(health or self._silent(channel))} for pid, channel, health in told]
        whole = merged_health(processes)
        whole["reasons"] = [f"Worker process {each['pid']}: {said}" for each in processes for said in each["reasons"]]
        if self.stopping:
            whole["stopping"] = True
            whole["reasons"].insert(0, "The worker is stopping.")
        elif len(processes) < self._wanted:
            whole["reasons"].insert(0, f"Of {self._wanted} worker processes, {len(processes)} run.")
        whole["ready"] = whole["ready"] and not whole["stopping"] and len(processes) >= self._wanted
        return whole | {"processes": processes}

    def metrics(self) -> tuple[str, bytes] | None:
        if not has_prometheus():
            return None
        told = [(pid, Snapshot(**numbers)) for pid, _, numbers in self._ask(NUMBERS, _NUMBERS_SECONDS) if numbers]
        health = self.health()
        with self._lock:
            # One that has ended meanwhile is among the ended ones, as it was when it was asked before.
            alive = [(pid, snapshot) for pid, snapshot in told if pid in self._channels]
            self._last |= {pid: snapshot.totals for pid, snapshot in alive}
            silent = [last for pid, last in self._last.items() if pid not in dict(alive)]
            before = self._ended
        for last in silent:
            before = added(before, last)
        whole = merged([snapshot for _, snapshot in alive], before, health)
        return text(whole)

    def _ask(self, question: bytes, seconds: float) -> list[tuple[int, Channel, Any]]:
        with self._lock:
            channels = list(self._channels.items())
        if not channels:
            return []
        with ThreadPoolExecutor(len(channels), thread_name_prefix="oxherd-asks") as pool:
            asked = [(pid, channel, pool.submit(channel.ask, question, seconds)) for pid, channel in channels]
            return [(pid, channel, answer.result()) for pid, channel, answer in asked]

    def _silent(self, channel: Channel) -> Json:
        """The health of a worker that does not answer: one that never did may still be loading its handlers."""
        silent = channel.silent_seconds
        said = f"It has not answered for {silent:.0f} s." if channel.answered else "It has not answered yet."
        live = not channel.answered or silent <= BLOCKED_SECONDS
        return asdict(judge(Facts())) | {"live": live, "reasons": [said]}
