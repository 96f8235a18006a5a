"""From "orders are stuck" to the cause and the remedy in three commands; and what else `oxherd doctor` finds."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from oxherd import Oxherd
from oxherd.bullmq.server_state import ServerState
from oxherd.bullmq.worker_info import WorkerInfo
from oxherd.doctor import growth_checks, server_checks
from oxherd.doctor.facts import Facts, read_facts
from oxherd.doctor.finding import Finding
from oxherd.servers.standalone import StandaloneServer
from tests.cli.shop import Shop, make_shop, shop
from tests.cli.support import redis
from tests.harness import cli, until_sync

# A process for each command.
pytestmark = pytest.mark.slow

__all__ = ["make_shop", "shop"]  # fixtures


def order(number: int = 2) -> dict[str, object]:
    return {"number": number}


def findings(shop: Shop, ignored: str = "persistence") -> dict[str, tuple[str, str]]:
    """What `doctor` finds, by check: what is wrong, and the remedy. The tests' server writes nothing to its disk."""
    done = cli(shop.folder, "doctor", "app:herd", "--json", url=shop.url)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == bool(found)
    assert done.stderr == ""
    return {each["check"]: (each["what"], each["remedy"]) for each in found if each["check"] != ignored}


def do(shop: Shop, remedy: str) -> str:
    """Run the command that a remedy begins with, or has after a colon."""
    command = remedy[remedy.index("oxherd ") :].split(";")[0].split(" (")[0]
    words = shlex.split(command)[1:]
    done = cli(shop.folder, *words, url=shop.url)
    assert done.returncode == 0, done
    return done.stdout


def test_stuck_since_no_worker_is_alive(shop: Shop) -> None:
    shop.emit("order.placed", order(), order())
    assert shop.event("order.placed")["waiting"] == 2
    what, remedy = findings(shop)["no worker"]
    assert what.startswith("order.placed: 2 waiting")
    assert remedy.startswith("oxherd worker app:herd")
    worker = shop.worker()
    worker.wait("event.end", count=2)
    assert "no worker" not in findings(shop)


def test_stuck_since_the_event_is_paused(shop: Shop) -> None:
    worker = shop.worker()
    worker.wait("worker.start")
    shop.run("pause", "order.placed")
    shop.emit("order.placed", order())
    what, remedy = findings(shop)["paused"]
    assert what.startswith("order.placed: paused; 1 waiting")
    assert "order.placed is not paused" in do(shop, remedy)
    worker.wait("event.end")
    assert findings(shop) == {}


def test_stuck_since_one_error_fails_them_all(shop: Shop) -> None:
    shop.emit("order.placed", order(1), order(3), order(4))
    worker = shop.worker()
    worker.wait("event.end", count=3)
    what, remedy = findings(shop)["failures"]
    assert what == "order.placed: 2 failed within the hour, all with ValueError"
    shown = do(shop, remedy.split(" tells")[0])
    assert "ValueError: no stock for" in shown
    assert "app.py:" in shown
    assert shop.run("discard", "order.placed", "--error-type", "ValueError", "--yes").stdout == "2 discarded\n"
    assert findings(shop) == {}


KILLER = """
import os, signal
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", lock=0.5, max_stalls=1)
async def order_placed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_stuck_since_one_event_kills_its_workers(make_shop: Callable[..., Shop], standalone: str) -> None:
    shop = make_shop(standalone, KILLER)
    (event_id,) = shop.run("emit", "order.placed", "1").stdout.split()
    for _ in range(2):
        worker = shop.worker()
        assert worker.exit() == -signal.SIGKILL
    last = shop.worker()
    until_sync(lambda: shop.event("order.placed")["failed"])
    what, remedy = findings(shop)["failures"]
    assert what == "order.placed: 1 failed within the hour, all with Stalled"
    shown = do(shop, remedy.split(" tells")[0])
    assert "error      Stalled" in shown
    assert shop.run("discard", event_id, "--yes").stdout == "1 discarded\n"
    last.stop()


CUSTOMERS = """
import asyncio
from oxherd import Oxherd, PerKey

herd = Oxherd(prefix=PREFIX, emit_timeout=3)

@herd.event("order.placed", key=lambda order: order["customer"], per_key=PerKey(max_running=1))
async def order_placed(order: dict[str, str]) -> None:
    if order["customer"] == "c-canary-7":
        await asyncio.sleep(60)
"""


def test_stuck_since_one_key_floods(make_shop: Callable[..., Shop], standalone: str) -> None:
    shop = make_shop(standalone, CUSTOMERS)
    worker = shop.worker()
    emitted = shop.emit("order.placed", *[{"customer": "c-canary-7"}] * 150, *[{"customer": str(n)} for n in range(20)])
    worker.wait("event.end", count=20)
    what, remedy = findings(shop)["flood"]
    assert re.fullmatch(r"order.placed: some \d+ of \d+ that wait have one key, and its limits hold them back", what)
    shown = do(shop, remedy.split(" tells")[0])
    assert any(each in shown for each in emitted[:150])
    assert "held back by its key" in shown
    shop.run("cancel", *emitted[:100])
    assert "flood" not in findings(shop)


def test_stuck_since_the_rate_is_reached(shop: Shop) -> None:
    shop.run("limits", "order.placed", "--rate", "2/600")
    worker = shop.worker()
    worker.wait("worker.start")
    shop.emit("order.placed", *(order() for _ in range(6)))
    worker.wait("event.end", count=2)
    what, remedy = findings(shop)["rate"]
    assert what.startswith("order.placed: 4 waiting")
    assert "its rate is 2 begun in 600 s, by which they take 20 m" in what
    do(shop, remedy.replace("N/SECONDS", "100/1"))
    worker.wait("event.end", count=6)
    assert findings(shop) == {}


def test_stuck_since_as_many_run_as_may(make_shop: Callable[..., Shop], standalone: str) -> None:
    shop = make_shop(standalone, SLOW)
    shop.run("limits", "order.placed", "--max-running", "1")
    worker = shop.worker()
    shop.run("emit", "order.placed", "-", stdin="60\n60\n60\n")
    worker.wait("event.begin")
    what, remedy = findings(shop)["max running"]
    assert "1 run, as many as max_running allows" in what
    do(shop, remedy.replace("N", "3", 1))
    worker.wait("event.begin", count=3)
    assert "max running" not in findings(shop)


def test_stuck_since_the_password_has_expired(make_shop: Callable[..., Shop]) -> None:
    with StandaloneServer(password="right") as server:
        shop = make_shop(f"redis://:hunter22@127.0.0.1:{server.port}/0")
        failed = shop.run("ls", status=1)
        assert failed.stdout == ""
        assert failed.stderr.count("\n") == 1
        what, remedy = findings(shop)["server"]
        assert "password" in what
        assert "OXHERD_URL" in remedy
        assert "hunter22" not in failed.stderr + what + remedy
        shop.url = server.url
        assert "server" not in findings(shop)


def test_stuck_since_the_event_was_renamed(shop: Shop) -> None:
    shop.emit("order.placed", order(), order())
    app = shop.folder / "app.py"
    app.write_text(app.read_text().replace('"order.placed"', '"order.received"'))
    worker = shop.worker()
    worker.wait("worker.start")
    what, remedy = findings(shop)["unknown queue"]
    assert what.startswith("the queue {order.placed} holds 2 waiting")
    assert "oxherd move app:herd '{order.placed}' EVENT" in remedy
    assert do(shop, remedy.replace("EVENT", "order.received")) == "2 moved\n"
    worker.wait("event.end", count=2)
    assert "unknown queue" not in findings(shop)


SLOW = """
import asyncio
from oxherd import Every, Oxherd, Schedule

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", lock=1, max_stalls=9, schedules={"often": Schedule(Every(3600), 0)})
async def order_placed(seconds: int) -> None:
    await asyncio.sleep(seconds)
"""


def test_a_schedule_that_stopped_is_found(make_shop: Callable[..., Shop], standalone: str, prefix: str) -> None:
    shop = make_shop(standalone, SLOW)
    with StandaloneServer() as server:
        shop.url = server.url
        worker = shop.worker()
        worker.wait("worker.start")
        until_sync(lambda: shop.json("schedules"))
        assert findings(shop) == {}
        worker.stop()
        key = f"{prefix}:{{order.placed}}:repeat"
        long_past = int((time.time() - 86_400) * 1000)
        redis(server.url, "ZADD", key, long_past, "often")
        what, remedy = findings(shop)["schedule"]
        assert what.startswith("order.placed: the schedule often has stopped; its tick of ")
        assert remedy.startswith("oxherd worker app:herd")


BLOCKING = """
import asyncio, time
from oxherd import Context, Oxherd

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed", lock=0.5, max_stalls=9)
async def order_placed(number: int, ctx: Context) -> None:
    if ctx.fence == 1:
        time.sleep(3)  # nothing renews its lock meanwhile
    await asyncio.sleep(60)
"""


def test_a_lock_that_a_handler_cannot_keep_is_found(make_shop: Callable[..., Shop], standalone: str) -> None:
    shop = make_shop(standalone, BLOCKING)
    first, second = shop.worker(), shop.worker()
    first.wait("worker.start")
    second.wait("worker.start")
    shop.run("emit", "order.placed", "1")
    until_sync(lambda: first.count("event.begin") + second.count("event.begin") >= 2)
    until_sync(lambda: "lock" in findings(shop))
    what, remedy = findings(shop)["lock"]
    assert what.startswith("order.placed: 1 run lasts longer than lock=0.5, whose workers were lost before")
    assert remedy.startswith("raise lock=")


def test_a_server_that_evicts_is_full_and_keeps_nothing_is_found(make_shop: Callable[..., Shop]) -> None:
    with StandaloneServer(settings={"maxmemory-policy": "allkeys-lru", "appendonly": "no"}) as server:
        shop = make_shop(server.url)
        redis(server.url, "SET", "filler", "x" * 20_000_000)
        used = re.search(r"^used_memory:(\d+)", str(redis(server.url, "INFO", "memory")), re.MULTILINE)
        assert used is not None
        redis(server.url, "CONFIG", "SET", "maxmemory", int(int(used[1]) * 1.05))
        found = findings(shop, ignored="")
        assert "allkeys-lru" in found["eviction"][0]
        assert "noeviction" in found["eviction"][1]
        assert "of maxmemory is used" in found["memory"][0]
        assert "appendonly yes" in found["persistence"][1]


def facts(server: ServerState, *workers: WorkerInfo) -> Facts:
    return Facts("app:herd", datetime.now(UTC), [server], [], list(workers), [], [], [], {}, [])


def server(**fields: object) -> ServerState:
    told: dict[str, object] = {
        "node": "a:6379", "software": "Redis", "version": (7, 0), "eviction": "noeviction", "used_memory": 1,
        "max_memory": 0, "append_only": True, "replicas": 0, "failed_write": None, "saved_at": 1, "clock_ahead": 0.0,
        "doubt": 0.001,
    }  # fmt: skip
    return ServerState(**{**told, **fields})  # pyright: ignore[reportArgumentType] - as its fields are


def worker(ahead: float | None) -> WorkerInfo:
    now = datetime.now(UTC)
    return WorkerInfo("w", "host-1", 7, None, (), now, now, (), 0, ahead)


@pytest.mark.parametrize("ahead", [9.0, -9.0])
def test_a_clock_that_is_off_is_found(ahead: float) -> None:
    (found,) = server_checks.server_clocks(facts(server(clock_ahead=ahead)))
    assert f"its clock is 9.0 s {'ahead of' if ahead > 0 else 'behind'} this machine's" in found.what
    (found,) = server_checks.worker_clocks(facts(server(), worker(ahead)))
    assert found.what.startswith("worker 7 on host-1: its clock is 9.0 s ")
    assert not list(server_checks.server_clocks(facts(server(clock_ahead=1.0))))
    assert not list(server_checks.worker_clocks(facts(server(), worker(-1.0), worker(None))))


def test_an_old_server_and_one_that_cannot_write_are_found() -> None:
    (found,) = server_checks.version(facts(server(version=(6, 0, 9))))
    assert (found.what, found.remedy) == ("a:6379: Redis 6.0.9 is too old", "upgrade it to 6.2 or later")
    (found,) = server_checks.persistence(facts(server(failed_write="snapshot")))
    assert "its snapshot could not be written" in found.what


def test_a_server_that_is_away_is_a_finding(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop("redis://127.0.0.1:1/0")
    what, remedy = findings(shop)["server"]
    assert "127.0.0.1:1" in what
    assert "OXHERD_URL" in remedy


def test_where_nothing_is_wrong_it_says_what_was_looked_at(shop: Shop) -> None:
    with StandaloneServer(settings={"appendonly": "yes"}) as fresh:
        shop.url = fresh.url
        assert shop.run("doctor").stdout.startswith("Nothing is found wrong: 3 events, 0 workers, ")


async def test_keys_that_grow_are_found(local_herd: Oxherd) -> None:
    local_herd.declare("order.placed", int)
    async with local_herd:
        queue = (await local_herd.backend()).queue(local_herd["order.placed"].declaration)
        k, call = queue.keys, queue.client.call
        await local_herd["order.placed"].emit(1)
        assert [each.check for each in growth(await read_facts(local_herd, "app:herd"))] == []
        fill = (
            "for n = 1, 21000 do redis.call('ZADD', KEYS[1], n, n); redis.call('ZADD', KEYS[2], n, n) "
            "redis.call('XADD', KEYS[3], '*', 'event', 'added'); redis.call('HSET', KEYS[4], n, '{}') end"
        )
        await call(k.slot, "EVAL", fill, 4, k.completed, k.failed, k.events, k.outbox)
        found = growth(await read_facts(local_herd, "app:herd"))
        assert [each.check for each in found] == ["kept", "kept", "stream", "outbox"]
        assert "21,000 completed are kept, though keep= says 0" in found[0].what
        assert "oxherd discard app:herd order.placed --state completed" in found[0].remedy
        assert "21,000 failed are kept, though keep= says 10,000" in found[1].what
        assert "should have 10,000" in found[2].what


def growth(facts: Facts) -> list[Finding]:
    checks = (growth_checks.kept, growth_checks.streams, growth_checks.outboxes)
    return [finding for check in checks for finding in check(facts)]
