"""Metrics for Prometheus; needs the extra `oxherd[prometheus]`. A snapshot becomes metric families at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from oxherd.errors import ConfigError
from oxherd.telemetry.metrics.counts import BOUNDS
from oxherd.telemetry.metrics.snapshot import Herd, Observer, Snapshot

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import (
        REGISTRY,
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.registry import Collector
except ImportError:
    raise ConfigError("Metrics need prometheus_client; install oxherd[prometheus].") from None

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LE = [*map(str, BOUNDS), "+Inf"]

Samples = Iterable[tuple[tuple[str, ...], float]]  # label values, value
Read = Callable[[Snapshot], Samples]


class Metrics(Collector):
    """Collects a herd's metrics, counted from now on. docs/telemetry.md lists them.

    Collect from another thread than that of the herd's event loop: there, what Redis has to be asked is left out.

    Args:
        herd: the `Oxherd`.
        registry: where to register; default: prometheus_client's own.

    Raises:
        ValueError: the registry already has a herd's metrics.
    """

    def __init__(self, herd: Herd, registry: CollectorRegistry = REGISTRY) -> None:
        self._observer = Observer(herd)
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield every family with its current samples; takes at most 1.5 seconds."""
        return families(self._observer.snapshot())

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering does not query Redis."""
        return [_family(*each[:3]) for each in _FAMILIES] + [_histogram(*each[:2]) for each in _HISTOGRAMS]


def exposition(snapshot: Snapshot) -> bytes:
    """Render a snapshot in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        return families(self._snapshot)

    def describe(self) -> Iterable[Metric]:
        return []


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield every family of a snapshot, including those without samples."""
    for name, labels, text, read in _FAMILIES:
        family = _family(name, labels, text)
        for values, value in read(snapshot):
            family.add_metric(values, value)
        yield family
    for name, text, buckets, seconds in _HISTOGRAMS:
        histogram = _histogram(name, text)
        for event, totals in _events(snapshot):
            numbers: list[int] = totals[buckets]
            counts = zip(_LE, map(float, accumulate(numbers)), strict=True)
            histogram.add_metric([event], list(counts), totals[seconds])
        yield histogram


def _family(name: str, labels: tuple[str, ...], text: str) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, text, labels=labels)


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=["event"])


# -- reading a snapshot


def _events(snapshot: Snapshot) -> Iterable[tuple[str, dict[str, Any]]]:
    return snapshot.totals.get("events", {}).items()


def _of_events(key: str) -> Read:
    return lambda snapshot: (((event,), totals[key]) for event, totals in _events(snapshot))


def _of_outcome(outcome: str) -> Read:
    return lambda snapshot: (((event,), totals["ended"][outcome]) for event, totals in _events(snapshot))


def _ended(snapshot: Snapshot) -> Samples:
    for event, totals in _events(snapshot):
        for outcome, count in totals["ended"].items():
            yield (event, outcome), count


def _running(snapshot: Snapshot) -> Samples:
    for event, totals in _events(snapshot):
        yield (event,), totals["begun"] - sum(totals["ended"].values())


def _of_backlogs(index: int) -> Read:
    return lambda snapshot: (
        ((events,), numbers[index]) for events, numbers in snapshot.backlogs.items() if numbers[index] is not None
    )


def _by(key: str) -> Read:
    return lambda snapshot: (((name,), count) for name, count in snapshot.totals.get(key, {}).items())


def _of_nodes(key: str) -> Read:
    # Starts at zero, from which Prometheus sees the first one as an increase.
    return lambda snapshot: (
        ((node,), count) for node, count in (dict.fromkeys(snapshot.nodes, 0) | snapshot.totals.get(key, {})).items()
    )


def _one(key: str) -> Read:
    return lambda snapshot: [((), snapshot.totals.get(key, 0))]


def _health(key: str) -> Read:
    return lambda snapshot: [((), float(snapshot.health[key]))]


def _paused(snapshot: Snapshot) -> Samples:
    return (((event,), float(event in snapshot.health["paused"])) for event in snapshot.health["events"])


# Name, labels, help text, samples.
_FAMILIES: tuple[tuple[str, tuple[str, ...], str, Read], ...] = (
    ("oxherd_up", (), "Whether each queue has told what it holds.", lambda snapshot: [((), float(snapshot.up))]),
    ("oxherd_live", (), "Whether the worker is live.", _health("live")),
    ("oxherd_ready", (), "Whether the worker is ready.", _health("ready")),
    ("oxherd_events_emitted_total", ("event",), "Emits that were acknowledged.", _of_events("emitted")),
    ("oxherd_events_begun_total", ("event",), "Runs of handlers that began.", _of_events("begun")),
    ("oxherd_events_ended_total", ("event", "outcome"), "Runs of handlers that ended.", _ended),
    (
        "oxherd_events_expired_total",
        ("event",),
        "Events that expired before they began.",
        _of_events("expired"),
    ),
    ("oxherd_events_running", ("event",), "Events that have begun and not ended.", _running),
    ("oxherd_events_waiting", ("event",), "Events that could begin.", _of_backlogs(0)),
    ("oxherd_events_delayed", ("event",), "Events whose time has not come.", _of_backlogs(1)),
    ("oxherd_oldest_waiting_seconds", ("event",), "Age of the oldest event that waits.", _of_backlogs(2)),
    ("oxherd_paused", ("event",), "Whether the event is paused.", _paused),
    ("oxherd_retries_total", ("event",), "Runs that failed and are tried again.", _of_outcome("retrying")),
    ("oxherd_locks_lost_total", ("event",), "Runs whose outcome was not written.", _of_outcome("lost")),
    ("oxherd_stalled_total", ("queue",), "Events that a worker died or fell silent over.", _by("stalled")),
    ("oxherd_queue_errors_total", ("source",), "Faults of the queues' own working.", _by("queue_errors")),
    (
        "oxherd_redis_up",
        ("node",),
        "Whether a node serves us.",
        lambda snapshot: (((node,), float(up)) for node, up in snapshot.nodes.items()),
    ),
    ("oxherd_redis_outages_total", ("node",), "Outages that began.", _of_nodes("outages")),
    (
        "oxherd_redis_outage_seconds_total",
        ("node",),
        "How long the outages that ended took.",
        _of_nodes("outage_seconds"),
    ),
    ("oxherd_loop_blocks_total", (), "How often the event loop was blocked for more than a second.", _one("blocks")),
    ("oxherd_loop_blocked_seconds_total", (), "How long the blocks that ended took.", _one("blocked_seconds")),
    (
        "oxherd_loop_blocked_now_seconds",
        (),
        "For how long the loop has been blocked; 0 below a second.",
        _health("blocked_seconds"),
    ),
)
# Name, help text, buckets, sum.
_HISTOGRAMS = (
    ("oxherd_event_duration_seconds", "How long handlers ran.", "durations", "duration_seconds"),
    ("oxherd_event_lag_seconds", "From when an event was due to its first attempt.", "lags", "lag_seconds"),
)
