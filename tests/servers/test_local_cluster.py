"""The local cluster: real nodes that fail over, move slots and go."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from oxherd.errors import ServerError
from oxherd.redis.blocking import ReplyError
from oxherd.redis.client import key_slot
from oxherd.redis.topology import SLOTS
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.ports import free_ports
from tests.servers.conftest import DEADLINE, alive, eventually, running_in

PARENT = """
import sys
from pathlib import Path
from oxherd.servers.local_cluster import LocalCluster
cluster = LocalCluster(directory=Path(sys.argv[1]))
cluster.start()
print(*[node.pid for node in cluster.nodes], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalCluster]:
    with LocalCluster(directory=tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_six_nodes_form_a_cluster_that_serves_every_slot(cluster: LocalCluster) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    assert re.fullmatch(rf"redis\+cluster://:\w{{32}}@{hosts}", cluster.url)
    assert sorted(node.role() for node in cluster.nodes) == ["primary"] * 3 + ["replica"] * 3
    for node in cluster.nodes:
        info = node.cluster_info()
        assert (info["cluster_state"], info["cluster_slots_ok"]) == ("ok", str(SLOTS))
        assert info["cluster_known_nodes"] == "6"


def test_a_key_is_served_by_the_primary_of_its_slot(cluster: LocalCluster) -> None:
    node = cluster.primary_of("{order.placed}:1")
    assert node is cluster.primary_of(key_slot("order.placed"))
    assert node.command("SET", "{order.placed}:1", "value") == "OK"
    other = next(each for each in cluster.nodes if each.role() == "primary" and each is not node)
    with pytest.raises(ReplyError) as caught:
        other.command("GET", "{order.placed}:1")
    assert caught.value.code == "MOVED"


def test_slots_are_counted_as_the_server_counts_them(cluster: LocalCluster) -> None:
    for key in ("foo", "{a}b", "a{b}{c}", "{}a", "a{b", "}a{b}", "ü", "{order.placed}:wait"):
        assert key_slot(key) == cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)


def test_a_slot_moves_with_its_keys(cluster: LocalCluster) -> None:
    source = cluster.primary_of("{moved}")
    for number in range(250):
        source.command("SET", f"{{moved}}:{number}", number)
    target = next(node for node in cluster.nodes if node.role() == "primary" and node is not source)
    cluster.move_slot(key_slot("{moved}"), target)
    assert cluster.primary_of("{moved}") is target
    assert target.command("CLUSTER", "COUNTKEYSINSLOT", key_slot("{moved}")) == 250
    with pytest.raises(ReplyError, match=f"MOVED .*:{target.port}"):
        source.command("GET", "{moved}:1")


def test_a_move_that_stops_midway_answers_ask(cluster: LocalCluster) -> None:
    slot = key_slot("{half}")
    source = cluster.primary_of(slot)
    names = [f"{{half}}:{number}" for number in range(10)]
    for name in names:
        source.command("SET", name, "value")
    target = next(node for node in cluster.nodes if node.role() == "primary" and node is not source)
    cluster.begin_move(slot, target)
    assert cluster.move_keys(slot, target, limit=4) == 4
    answers: list[str] = []
    for name in names:
        try:
            answers.append(str(source.command("GET", name)))
        except ReplyError as error:
            answers.append(error.code)
    assert (answers.count("ASK"), answers.count("value")) == (4, 6)
    assert cluster.move_keys(slot, target) == 6
    cluster.end_move(slot, target)
    cluster.wait_stable()
    assert [target.command("GET", name) for name in names] == ["value"] * 10


def test_a_replica_takes_over_when_told(cluster: LocalCluster) -> None:
    primary = cluster.primary_of("key")
    replica = cluster.replica_of(primary)
    cluster.failover(replica)
    assert (replica.role(), primary.role()) == ("primary", "replica")
    assert cluster.primary_of("key") is replica
    assert cluster.replica_of(replica) is primary


def test_a_replica_takes_over_from_a_killed_primary_which_comes_back_as_its_replica(cluster: LocalCluster) -> None:
    primary = cluster.primary_of("key")
    replica = cluster.replica_of(primary)
    primary.command("SET", "key", "value")
    assert primary.command("WAIT", 1, 5000) == 1
    primary.kill()
    cluster.wait_stable()
    assert cluster.primary_of("key") is replica
    assert replica.command("GET", "key") == "value"
    primary.restart()
    cluster.wait_stable()
    assert primary.role() == "replica"


def test_a_replica_takes_over_from_a_paused_primary(cluster: LocalCluster) -> None:
    primary = cluster.primary_of("key")
    replica = cluster.replica_of(primary)
    primary.pause()
    cluster.wait_stable()
    assert replica.role() == "primary"
    primary.resume()
    cluster.wait_stable()
    assert primary.role() == "replica"


def test_the_password_of_a_cluster_is_asked_for_and_is_on_no_command_line(tmp_path: Path) -> None:
    with LocalCluster(primaries=3, replicas=0, directory=tmp_path, password="s3cret:/@") as cluster:
        assert cluster.url.startswith("redis+cluster://:s3cret%3A%2F%40@127.0.0.1:")
        assert all("s3cret" not in Path(f"/proc/{node.pid}/cmdline").read_text() for node in cluster.nodes)
        source = cluster.primary_of("key")
        source.command("SET", "key", "value")
        target = next(node for node in cluster.nodes if node is not source)
        cluster.move_slot(key_slot("key"), target)
        assert target.command("GET", "key") == "value"
    assert list(tmp_path.iterdir()) == []


def test_no_node_outlives_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 6
        assert all(alive(pid) for pid in pids)
        parent.kill()
    eventually(lambda: not any(alive(pid) for pid in pids), "the nodes end")
    assert running_in(tmp_path) == []


def test_nodes_outlive_the_thread_that_started_them(tmp_path: Path) -> None:
    cluster = LocalCluster(primaries=3, replicas=0, directory=tmp_path)
    starter = threading.Thread(target=cluster.start)
    starter.start()
    starter.join(DEADLINE)
    try:
        assert [node.command("PING") for node in cluster.nodes] == ["PONG"] * 3
        cluster.wait_stable()
    finally:
        cluster.stop()


def test_stop_leaves_neither_process_nor_file_and_is_idempotent(tmp_path: Path) -> None:
    cluster = LocalCluster(primaries=3, replicas=0, directory=tmp_path)
    cluster.start()
    with pytest.raises(ServerError, match="already running"):
        cluster.start()
    cluster.nodes[0].pause()
    pids = [node.pid for node in cluster.nodes]
    cluster.stop()
    cluster.stop()
    assert not any(alive(pid) for pid in pids)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    cluster = LocalCluster(directory=tmp_path, settings={"no-such-setting": 1})
    with pytest.raises(ServerError, match=r"did not start .*no-such-setting"):
        cluster.start()
    assert (cluster.nodes, running_in(tmp_path), list(tmp_path.iterdir())) == ([], [], [])


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(50))) == 50
