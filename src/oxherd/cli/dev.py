"""`oxherd dev`: a server to develop against, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager

from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster


def run(*, cluster: bool) -> None:
    """Keep it up until SIGTERM or SIGINT."""
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server starts, so that no signal in between leaves it behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with _cluster() if cluster else _embedded() as url:
        sys.stdout.write(f"OXHERD_URL={url}\n")
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write("Ctrl-C stops it.\n")
        signal.sigwait(signals)


@contextmanager
def _embedded() -> Generator[str]:
    server = EmbeddedServer.join()
    try:
        yield server.url
    finally:
        server.leave()


@contextmanager
def _cluster() -> Generator[str]:
    with LocalCluster() as cluster:
        yield cluster.url
