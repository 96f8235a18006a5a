"""What more worker processes give on one server, and more shards on a cluster of three primaries: oxherd only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.bench import Bench, Handler, Run, RunFailed, Working
from benchmarks.measure_drain import Watch
from benchmarks.systems import System
from oxherd.bullmq.shards import shard_queues
from oxherd.redis.client import key_slot
from oxherd.servers.config import Settings
from oxherd.servers.local_cluster import LocalCluster

_CONCURRENCY = 100
_CONCURRENCY_WAITING = 20
_PROCESSES = (1, 2, 3)
_SHARDS = (1, 12)


def runs(bench: Bench, systems: list[System]) -> Iterator[Run]:
    """One round: one to three worker processes on the server, then one and twelve shards on the cluster."""
    oxherd = next((system for system in systems if system.key == "oxherd"), None)
    if oxherd is None:
        return
    events = 6_000 if bench.options.quick else 100_000
    for processes in _PROCESSES:
        busy = _with_processes(bench, oxherd, processes, events, _CONCURRENCY, "noop")
        yield Run("scale", oxherd, f"processes {processes}", 7.5, busy)
        waiting = _with_processes(bench, oxherd, processes, events // 10, _CONCURRENCY_WAITING, "io")
        yield Run("scale", oxherd, f"waiting {processes}", 5.0, waiting)
    for shards in _SHARDS:
        yield Run("scale", oxherd, f"shards {shards}", 10.0, partial(_with_shards, bench, oxherd, shards, events))


def _with_processes(
    bench: Bench, system: System, processes: int, events: int, concurrency: int, handler: Handler
) -> Callable[[], dict[str, Any]]:
    supervised = replace(system, worker=(*system.worker, "--processes", str(processes)))

    def measure() -> dict[str, Any]:
        bench.fill(system, events)
        with bench.worker(supervised, concurrency, handler) as work:
            watch = Watch(bench, work)
            ended = work.wait(events, watch=watch)
            redis = bench.server.cpu_seconds() - watch.redis
            sums = work.conclude(bench.server, events)
        rate = (events - watch.at_first) / (ended - watch.begun)
        busy = redis / (ended - watch.begun)
        said = f"{rate:9,.0f} events/s   Redis {100 * busy:3.0f} % busy"
        return sums | {"rate": rate, "redis_busy": busy, "said": said}

    return measure


def _with_shards(bench: Bench, system: System, shards: int, events: int) -> dict[str, Any]:
    settings: Settings = {"cluster-require-full-coverage": "no", "appendonly": "no"}
    with LocalCluster(replicas=0, settings=settings) as cluster:
        return _on_cluster(bench, system, cluster, shards, events)


def _on_cluster(bench: Bench, system: System, cluster: LocalCluster, shards: int, events: int) -> dict[str, Any]:
    variables = {"BENCH_URL": cluster.url, "OXHERD_URL": cluster.url, "BENCH_SHARDS": str(shards)}
    commands, cpu = _sums(cluster)
    bench.produce(system, "fill", str(events), variables=variables)
    if (left := _left(cluster, shards)) != events:
        raise RunFailed(f"{left} of {events} events wait after they were emitted")
    filled = _sums(cluster)[1]
    with bench.worker(system, _CONCURRENCY, variables=variables) as work:
        watch = Watch(bench, work)
        ended = work.wait(events, watch=watch)
        sums = _concluded(work, cluster, shards, events)
    after, drained = _sums(cluster)
    done = [later - earlier for later, earlier in zip(after, commands, strict=True)]
    shares = [count / sum(done) for count in done]
    rate = (events - watch.at_first) / (ended - watch.begun)
    figures = {
        "rate": rate,
        "shares": [round(share, 4) for share in shares],
        "emit_us": 1e6 * (sum(filled) - sum(cpu)) / events,
        "redis_us": 1e6 * (sum(drained) - sum(filled)) / events,
    }
    parts = ", ".join(f"{100 * share:.1f}" for share in shares)
    said = f"{rate:9,.0f} events/s   {parts} % of the commands on each primary, {figures['redis_us']:.0f} µs an event"
    return sums | figures | {"said": said}


def _concluded(work: Working, cluster: LocalCluster, shards: int, events: int) -> dict[str, int]:
    sums = work.ended(events)
    if left := _left(cluster, shards):
        raise RunFailed(f"{left} events are left")
    return sums | {"left": 0}


def _left(cluster: LocalCluster, shards: int) -> int:
    total = 0
    for name in shard_queues("noop", shards):
        node = cluster.primary_of(key_slot(f"bull:{name}:"))
        for command, key in (("LLEN", "wait"), ("LLEN", "active"), ("ZCARD", "delayed"), ("ZCARD", "failed")):
            reply = node.command(command, f"bull:{name}:{key}")
            total += reply if isinstance(reply, int) else 0
    return total


def _sums(cluster: LocalCluster) -> tuple[list[int], list[float]]:
    """Commands and processor seconds of each primary so far."""
    commands = [int(node.info("stats")["total_commands_processed"]) for node in cluster.nodes]
    cpu = [node.info("cpu") for node in cluster.nodes]
    return commands, [float(one["used_cpu_user"]) + float(one["used_cpu_sys"]) for one in cpu]
