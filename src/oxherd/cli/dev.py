"""`oxherd dev`: runs a server for development until Ctrl-C."""

from __future__ import annotations

import signal
import sys

from oxherd.cli.output import write_line
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster


def run(*, cluster: bool) -> None:
    """Run the embedded server, or a cluster, until SIGTERM or SIGINT."""
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server starts: a signal in between would leave it running.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with LocalCluster() if cluster else EmbeddedServer() as server:
        write_line(f"OXHERD_URL={server.url}")
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write("Ctrl-C stops it.\n")
        signal.sigwait(signals)
