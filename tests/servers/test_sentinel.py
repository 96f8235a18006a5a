"""Three sentinels over a primary and a replica."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.local_sentinel import LocalSentinel
from tests.servers.conftest import alive, eventually


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalSentinel]:
    with LocalSentinel(directory=tmp_path_factory.mktemp("sentinel")) as running:
        yield running


def test_the_sentinels_name_the_primary_and_are_in_the_url(sentinel: LocalSentinel) -> None:
    ports = ",".join(f"127.0.0.1:{each.port}" for each in sentinel.sentinels)
    assert re.fullmatch(rf"redis\+sentinel://:(\w+)@{ports}/mymaster/0\?sentinel_password=\1", sentinel.url)
    assert (sentinel.primary().role(), sentinel.replica().role()) == ("primary", "replica")


@pytest.mark.slow
def test_the_replica_takes_over_when_told(sentinel: LocalSentinel) -> None:
    primary, replica = sentinel.primary(), sentinel.replica()
    sentinel.failover()
    assert sentinel.primary() is replica
    assert replica.role() == "primary"
    sentinel.wait_stable()
    assert primary.role() == "replica"


@pytest.mark.slow
def test_the_replica_takes_over_from_a_killed_primary_which_comes_back(sentinel: LocalSentinel) -> None:
    primary, replica = sentinel.primary(), sentinel.replica()
    primary.kill()
    eventually(lambda: sentinel.primary() is replica, "the sentinels name the replica")
    primary.start()
    sentinel.wait_stable()
    assert (primary.role(), replica.role()) == ("replica", "primary")


def test_stop_leaves_neither_process_nor_file(tmp_path: Path) -> None:
    sentinel = LocalSentinel(directory=tmp_path)
    sentinel.start()
    pids = [process.pid for process in (*sentinel.servers, *sentinel.sentinels)]
    sentinel.stop()
    sentinel.stop()
    assert not any(alive(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []
