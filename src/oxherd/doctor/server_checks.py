"""Checks of the servers, and of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from oxherd.bullmq.server_state import OLDEST_VERSION
from oxherd.doctor.facts import Facts
from oxherd.doctor.finding import Finding
from oxherd.wording import ago, duration

_FULL = 0.9
_SKEW_SECONDS = 2.0
# A heartbeat on its way makes a worker's clock look behind.
_BEHIND_SECONDS = 6.0


def eviction(facts: Facts) -> Iterator[Finding]:
    """A policy under which a full server drops events."""
    for server in facts.servers:
        if server.eviction not in ("noeviction", None):
            yield Finding(
                "eviction",
                f"{server.node}: maxmemory-policy is {server.eviction}, so a full server drops events and locks",
                f"CONFIG SET maxmemory-policy noeviction there, and in its configuration (a cache that asks for "
                f"{server.eviction} belongs on a server of its own)",
            )


def version(facts: Facts) -> Iterator[Finding]:
    """A server that is too old."""
    for server in facts.servers:
        if server.version < OLDEST_VERSION:
            number = ".".join(map(str, server.version))
            yield Finding(
                "version", f"{server.node}: {server.software} {number} is too old", "upgrade it to 6.2 or later"
            )


def memory(facts: Facts) -> Iterator[Finding]:
    """Memory near its limit."""
    for server in facts.servers:
        if server.max_memory and server.used_memory is not None and server.used_memory > _FULL * server.max_memory:
            share = server.used_memory / server.max_memory
            yield Finding(
                "memory",
                f"{server.node}: {share:.0%} of maxmemory is used; a full server refuses emits and begins nothing",
                "raise maxmemory; start workers for what waits; discard what has failed (oxherd ls shows both)",
            )


def persistence(facts: Facts) -> Iterator[Finding]:
    """Nothing that a restart would bring back."""
    for server in facts.servers:
        if server.append_only is False and not server.replicas:
            since = "" if server.saved_at is None else f" since {ago(datetime.fromtimestamp(server.saved_at, UTC))}"
            yield Finding(
                "persistence",
                f"{server.node}: no append-only file and no replica; what was emitted{since} is lost if it ends",
                "CONFIG SET appendonly yes there, and in its configuration",
            )
        if server.failed_write is not None:
            yield Finding(
                "persistence",
                f"{server.node}: its {server.failed_write} could not be written",
                "look into its log, and at its disk's room and rights",
            )


def server_clocks(facts: Facts) -> Iterator[Finding]:
    """A server whose clock is not this machine's."""
    for server in facts.servers:
        if abs(server.clock_ahead) > _SKEW_SECONDS + server.doubt:
            yield Finding(
                "clock",
                f"{server.node}: its clock is {_offset(server.clock_ahead)} this machine's; delays and ticks are off",
                "synchronise both by NTP (timedatectl, chronyc tracking)",
            )


def worker_clocks(facts: Facts) -> Iterator[Finding]:
    """A worker whose clock is not the server's."""
    for worker in facts.workers:
        ahead = worker.clock_ahead
        if ahead is not None and not -_BEHIND_SECONDS <= ahead <= _SKEW_SECONDS:
            yield Finding(
                "clock",
                f"worker {worker.pid} on {worker.host}: its clock is {_offset(ahead)} the server's",
                "synchronise that machine by NTP: delays, retries and ticks that it writes are off by that",
            )


def _offset(ahead: float) -> str:
    return f"{duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'}"
