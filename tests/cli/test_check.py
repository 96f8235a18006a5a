"""`oxherd check` reports what is wrong, line by line, and changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from oxherd import Cron, Every, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.ports import free_ports
from oxherd.servers.standalone import StandaloneServer
from tests.cli.support import WriteApp, keys, redis
from tests.harness import cli

APP = """
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX, emit_timeout=1)
herd.declare("order.billed", int)

@herd.event("order.placed")
async def order_placed(number: int) -> None: ...
"""


def check(folder: Path, url: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The status, and of each line its subject with its state and what was found."""
    done = cli(folder, "check", "app:herd", url=url)
    assert done.stderr == ""
    return done.returncode, _lines(done)


def _lines(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for line in done.stdout.splitlines():
        state, rest = line.split(None, 1)
        subject, text = rest.split("  ", 1)
        found[subject.strip()] = (state, text.strip())
    return found


def test_a_herd_that_can_run_is_ok(write_app: WriteApp, standalone: str, prefix: str) -> None:
    status, found = check(write_app(APP), standalone)
    assert status == 0
    events = ["event order.billed", "event order.placed"]
    assert list(found) == ["events", "handlers", "server", "version", "eviction", *events, "schedules"]
    assert {subject for subject, (state, _) in found.items() if state != "ok"} == {"handlers"}
    assert found["events"][1] == "2 declared: order.billed, order.placed"
    assert found["handlers"][0] == "warning"
    assert found["handlers"][1].startswith("none for order.billed; ")
    assert "127.0.0.1" in found["server"][1]
    assert found["version"][1].startswith("Valkey ")
    assert found["eviction"][1] == "noeviction"
    assert found["event order.placed"][1] == "0 waiting, 0 active, 0 delayed, 0 failed"
    assert found["schedules"][1] == "none stored"
    assert keys(standalone, prefix) == []


def test_a_server_that_cannot_be_reached_is_wrong(write_app: WriteApp) -> None:
    (port,) = free_ports(1)
    status, found = check(write_app(APP), f"redis://bob:hunter22@127.0.0.1:{port}/0")
    assert status == 1
    assert (found["events"][0], found["server"][0]) == ("ok", "wrong")
    assert f"127.0.0.1:{port}" in found["server"][1]
    assert "hunter22" not in str(found)


def test_a_server_that_does_not_answer_is_wrong(write_app: WriteApp) -> None:
    folder = write_app(APP)
    with StandaloneServer() as server:
        server.pause()
        status, found = check(folder, server.url)
        server.resume()
    assert (status, found["server"][0]) == (1, "wrong")


def test_a_password_that_the_server_refuses_is_wrong_and_not_shown(write_app: WriteApp) -> None:
    with StandaloneServer(password="right") as server:
        status, found = check(write_app(APP), f"redis://:hunter22@127.0.0.1:{server.port}/0")
        assert (status, found["server"][0]) == (1, "wrong")
        assert "hunter22" not in str(found)
        status, found = check(write_app(APP), server.url)
        assert (status, found["server"][0]) == (0, "ok")
        assert "right" not in str(found)


def test_a_server_that_evicts_keys_is_a_warning_with_the_remedy(write_app: WriteApp) -> None:
    with StandaloneServer(settings={"maxmemory-policy": "allkeys-lru"}) as server:
        status, found = check(write_app(APP), server.url)
    assert status == 0
    state, text = found["eviction"]
    assert state == "warning"
    assert "allkeys-lru" in text
    assert "noeviction" in text


def test_a_herd_without_events_is_wrong(write_app: WriteApp, standalone: str) -> None:
    status, found = check(write_app("from oxherd import Oxherd\nherd = Oxherd()\n"), standalone)
    assert (status, found["events"][0]) == (1, "wrong")


def test_wrong_stored_schedules_are_named(write_app: WriteApp, standalone: str, prefix: str) -> None:
    folder = write_app(APP)
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("order.placed", int)
    herd.run_sync(event.schedule("nightly", Cron("0 2 * * *", tz="Europe/Paris"), 1))
    herd.run_sync(event.schedule("often", Every(3600), 1))
    herd.close_sync()
    before = keys(standalone, prefix)
    status, found = check(folder, standalone)
    assert status == 0
    assert found["schedule order.placed nightly"] == ("ok", "valid")
    assert found["schedule order.placed often"] == ("ok", "valid")
    base = f"{prefix}:{{order.placed}}:repeat"
    for name, field, value, word in (
        ("nightly", "pattern", "61 * * * *", "minute"),
        ("nightly", "tz", "Europe/Pariss", "Europe/Paris"),
    ):
        was = str(redis(standalone, "HGET", f"{base}:{name}", field))
        redis(standalone, "HSET", f"{base}:{name}", field, value)
        status, found = check(folder, standalone)
        state, text = found[f"schedule order.placed {name}"]
        assert (status, state) == (1, "wrong")
        assert word in text
        assert found["schedule order.placed often"][0] == "ok"
        redis(standalone, "HSET", f"{base}:{name}", field, was)
    assert keys(standalone, prefix) == before


def test_a_paused_event_is_shown_as_paused_beside_its_counts(write_app: WriteApp, standalone: str, prefix: str) -> None:
    folder = write_app(APP)
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("order.placed", int, shards=2)
    event.emit_many_sync([1, 2])
    event.pause_sync()
    status, found = check(folder, standalone)
    assert status == 0
    assert found["event order.placed"] == ("ok", "2 waiting, 0 active, 0 delayed, 0 failed, paused; 1 shards, 2 served")
    assert found["event order.billed"][1] == "0 waiting, 0 active, 0 delayed, 0 failed"
    redis(standalone, "HDEL", f"{prefix}:{{order.placed}}:meta", "paused")
    assert "0 failed, paused on 1 of 2 shards; " in check(folder, standalone)[1]["event order.placed"][1]
    event.resume_sync()
    herd.close_sync()
    assert "paused" not in check(folder, standalone)[1]["event order.placed"][1]


def test_a_damaged_record_of_schedules_is_wrong(write_app: WriteApp, standalone: str, prefix: str) -> None:
    redis(standalone, "SET", f"{prefix}:{{order.placed}}:repeat", "damaged")
    status, found = check(write_app(APP), standalone)
    assert status == 1
    assert "wrong" in {state for state, _ in found.values()}


def test_a_whole_cluster_is_ok(write_app: WriteApp, cluster: LocalCluster) -> None:
    status, found = check(write_app(APP), cluster.url)
    assert status == 0
    assert found["slots"] == ("ok", "16384 of 16384 covered")


def test_a_cluster_without_some_slots_is_wrong(write_app: WriteApp) -> None:
    with LocalCluster(replicas=0) as cluster:
        node = cluster.primary_of(7)
        node.command("CLUSTER", "DELSLOTS", 7)
        status, found = check(write_app(APP), f"redis+cluster://:{node.password}@127.0.0.1:{node.port}")
    assert status == 1
    assert found["slots"][0] == "wrong"
    assert found["slots"][1].startswith("16383 of 16384")


def test_a_queue_without_a_hash_tag_is_wrong_on_a_cluster(write_app: WriteApp, cluster: LocalCluster) -> None:
    folder = write_app(f'{APP}\nherd.declare("order.shared", int, queue="orders")\n')
    status, found = check(folder, cluster.url)
    assert (status, found["server"][0]) == (1, "wrong")
    assert "'orders'" in found["server"][1]
    assert "hash tag" in found["server"][1]


def test_an_event_with_shards_is_counted_over_all_of_them(write_app: WriteApp, standalone: str, prefix: str) -> None:
    folder = write_app(APP.replace('"order.placed"', '"order.placed", shards=4'))
    for shards in (4, 2, 1):
        herd = Oxherd(standalone, prefix=prefix)
        herd.declare("order.placed", int, shards=shards).emit_many_sync(range(5))
        herd.declare("order.billed", int, queue="orders", shards=1).emit_sync(1, delay=60)
        herd.close_sync()
    status, found = check(folder, standalone)
    assert status == 0
    assert found["event order.placed"] == ("ok", "15 waiting, 0 active, 0 delayed, 0 failed; 4 shards")
    folder = write_app(APP.replace('"order.placed"', '"order.placed", shards=2'))
    status, found = check(folder, standalone)
    assert found["event order.placed"] == ("ok", "15 waiting, 0 active, 0 delayed, 0 failed; 2 shards, 4 served")


def test_names_in_redis_forge_no_line_and_need_not_be_utf_8(write_app: WriteApp, standalone: str, prefix: str) -> None:
    repeat = f"{prefix}:{{order.placed}}:repeat"
    names = ("a\x1b[2K\rok      server     reachable", "b\n\u202eevil", "\udcff\udc80", "\u200b\u2066")
    for name in names:
        raw = name.encode("utf-8", "surrogateescape")
        redis(standalone, "ZADD", repeat, 1, raw)
        redis(standalone, "HSET", f"{repeat}:".encode() + raw, "pattern", b"\xff\x1b[m")
    done = cli(write_app(APP), "check", "app:herd", url=standalone)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("wrong   schedule order.placed ") for line in lines) == len(names)
    assert sum(line.startswith("ok      server ") for line in lines) == 1
