"""Servers of a test run's own, to which every herd of the process is redirected."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from oxherd.producer.server_locator import TEST_URL
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from oxherd.sessions import reopen_all


def new_server() -> StandaloneServer:
    """A server on a Unix socket in the temporary folder, not started yet."""
    return StandaloneServer(unix=True)


def new_cluster() -> LocalCluster:
    """A cluster of three primaries and three replicas, not started yet."""
    return LocalCluster()


@contextmanager
def own_server() -> Generator[str]:
    """Start a server, redirect every herd of the process to it meanwhile, and yield its URL.

    Herds with a `url` are redirected as well. The project's embedded server is not touched.

    Raises:
        ServerError: the server cannot be started.
    """
    with new_server() as server, redirecting(server) as url:
        yield url


@contextmanager
def own_cluster() -> Generator[str]:
    """As `own_server`, with a cluster of three primaries and three replicas."""
    with new_cluster() as cluster, redirecting(cluster) as url:
        yield url


@contextmanager
def redirecting(server: StandaloneServer | LocalCluster) -> Generator[str]:
    """Empty a running server, redirect every herd of the process to it, and yield its URL."""
    reopen_all()
    for node in [server] if isinstance(server, StandaloneServer) else server.primaries():
        node.command("FLUSHALL")
    before = os.environ.get(TEST_URL)
    os.environ[TEST_URL] = server.url
    try:
        yield server.url
    finally:
        if before is None:
            del os.environ[TEST_URL]
        else:
            os.environ[TEST_URL] = before
        reopen_all()
