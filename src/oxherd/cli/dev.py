"""`oxherd dev`: runs a server for development until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time

from oxherd.cli.output import write_error, write_line
from oxherd.errors import ServerError
from oxherd.producer.server_locator import assert_embedded_allowed
from oxherd.servers.embedded import EmbeddedServer
from oxherd.servers.local_cluster import LocalCluster

_LOOK_SECONDS = 1.0  # between two looks whether the server has died


def run(*, cluster: bool) -> None:
    """Run the embedded server, or a cluster, until SIGTERM or SIGINT."""
    if not cluster:
        assert_embedded_allowed()
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the server starts: a signal in between would leave it running.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with LocalCluster() if cluster else EmbeddedServer() as server:
        write_line(f"OXHERD_URL={server.url}")
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write("Ctrl-C stops it.\n")
        if isinstance(server, EmbeddedServer):
            threading.Thread(target=_keep_up, args=(server,), daemon=True).start()
        signal.sigwait(signals)


def _keep_up(server: EmbeddedServer) -> None:
    refusal = ""
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            server.restart()
            refusal = ""
        except ServerError as error:
            if str(error) != refusal:
                refusal = str(error)
                write_error(f"oxherd: {refusal}")
