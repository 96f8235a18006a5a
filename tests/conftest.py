"""Real servers, one of each kind for a test process, and herds with a prefix of their own."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oxherd import ContextFilter, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess
from tests.local_sentinel import LocalSentinel
from tests.postgres import PostgresServer, postgres_binaries
from tests.slow import is_slow

REDIS_7 = "/usr/bin/redis-server"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow before `-m` selects."""
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def standalone() -> Iterator[str]:
    """A Valkey on a Unix socket."""
    with StandaloneServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis7_binary() -> Path:
    """Debian's redis-server 7, which is missing nowhere in CI."""
    if not Path(REDIS_7).exists():
        if os.environ.get("CI"):
            pytest.fail("Debian's redis-server is missing, and CI installs it")
        pytest.skip("Debian's redis-server is not installed here")
    return Path(REDIS_7)


@pytest.fixture(scope="session")
def redis7(redis7_binary: Path) -> Iterator[str]:
    """Debian's Redis 7."""
    with StandaloneServer(binary=redis7_binary) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL, which is missing nowhere in CI; a test that restarts it starts one of its own."""
    with _postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """PostgreSQL for one test, which may break it."""
    with _postgres() as server:
        yield server


def _postgres() -> PostgresServer:
    binaries = postgres_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing, and CI installs it")
        pytest.skip("PostgreSQL is not installed here")
    return PostgresServer(binaries)


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Three primaries and three replicas."""
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinel() -> Iterator[str]:
    """A primary and a replica under three Sentinels."""
    with LocalSentinel() as sentinel:
        yield sentinel.url


_BULLMQ = "-bullmq"
# The single server: all tests that are not of the suite run on Valkey, so Redis 7 is the one that would go untried.
_HAS_REDIS_7 = bool(os.environ.get("CI")) or Path(REDIS_7).exists()


@pytest.fixture(
    params=[
        pytest.param("redis7", marks=pytest.mark.redis7) if _HAS_REDIS_7 else "standalone",
        "cluster",
        pytest.param(f"cluster{_BULLMQ}", marks=pytest.mark.slow),
        "sentinel",
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of server in turn, and BullMQ's own scripts alone: the conformance suite runs on them all.

    Most faults show on a cluster; the others are for CI (`tests/slow.py`).
    """
    server = request.getfixturevalue(request.param.removesuffix(_BULLMQ))
    return server if isinstance(server, str) else server.url


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def make_herd(request: pytest.FixtureRequest, prefix: str) -> Callable[..., Oxherd]:
    """Makes herds that share this test's prefix, and its way to add and complete."""
    case = getattr(request.node, "callspec", None)
    batched = case is None or _BULLMQ not in case.id

    def make(url: str, **options: Any) -> Oxherd:
        given: dict[str, Any] = {"batched": batched, **options}
        return Oxherd(url, prefix=prefix, **given)

    return make


@pytest.fixture
def herd(url: str, make_herd: Callable[..., Oxherd]) -> Oxherd:
    """A herd on each kind of server."""
    return make_herd(url)


@pytest.fixture
def local_herd(standalone: str, make_herd: Callable[..., Oxherd]) -> Oxherd:
    """A herd on the standalone server only, for what does not depend on the topology."""
    return make_herd(standalone)


@pytest.fixture
def records() -> Iterator[Records]:
    """What the root logger gets, as with a user's handler that has our filter."""
    handler = Records()
    handler.addFilter(ContextFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers as processes in the test's folder, and ends them."""
    started: list[WorkerProcess] = []

    def start(*arguments: str, url: str, **options: Any) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path, *arguments, url=url, **options))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture
def node() -> str:
    """The path of Node.js, which is missing nowhere in CI."""
    path = shutil.which("node")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Node.js is missing, and CI needs it")
        pytest.skip("Node.js is not installed here")
    return path
