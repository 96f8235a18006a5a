"""Answers the health endpoint for one process."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from oxherd.telemetry.metrics.snapshot import Herd, Observer, Snapshot


class ProcessSource:
    """This process. Counts its signals from now on, if prometheus_client is there to show them."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._observer = Observer(herd) if has_prometheus() else None

    def health(self) -> dict[str, Any]:
        return asdict(self._herd.health())

    def metrics(self) -> tuple[str, bytes] | None:
        snapshot = self.snapshot()
        return None if snapshot is None else text(snapshot)

    def snapshot(self) -> Snapshot | None:
        """Take a snapshot; None without prometheus_client."""
        return None if self._observer is None else self._observer.snapshot()


def has_prometheus() -> bool:
    """Whether the extra `oxherd[prometheus]` is installed."""
    return find_spec("prometheus_client") is not None


def text(snapshot: Snapshot) -> tuple[str, bytes]:
    """Return the content type and the text of a snapshot for Prometheus."""
    from oxherd.telemetry.prometheus import CONTENT_TYPE, exposition

    return CONTENT_TYPE, exposition(snapshot)
