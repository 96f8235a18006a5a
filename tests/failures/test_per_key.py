"""Limits by key while workers die, servers go away, and lists are lost: never over, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Context, Discard, Oxherd, PerKey, Rate, RateLimited, Retry, Snooze
from oxherd.servers.standalone import StandaloneServer
from tests.conformance.key_runs import Runs, left_of_keys, queue_of
from tests.harness import WorkerProcess, until, until_sync

MakeHerd = Callable[..., Oxherd]
Order = tuple[str, int]

LOCK = 1.5
APP = f"""
import asyncio, os, time
from pathlib import Path
from oxherd import Oxherd, PerKey

herd = Oxherd(prefix={{prefix!r}})

def note(what, order):
    with open("ledger", "a") as file:
        file.write(f"{{{{time.time():.4f}}}} {{{{what}}}} {{{{order[0]}}}} {{{{order[1]}}}} {{{{os.getpid()}}}}\\n")

@herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1), lock={LOCK}, max_stalls=50)
async def placed(order: tuple[str, int]) -> None:
    note("begin", order)
    await asyncio.sleep(60 if Path("slow").exists() else 0.02)
    note("end", order)
"""


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


def write_app(folder: Path, prefix: str) -> None:
    (folder / "app.py").write_text(textwrap.dedent(APP.format(prefix=prefix)))


def ledger(folder: Path) -> list[tuple[float, str, str, int, int]]:
    """What the handlers noted: when, what, key, number, process."""
    file = folder / "ledger"
    lines = file.read_text().splitlines() if file.exists() else []
    found = (line.split() for line in lines)
    return [(float(at), what, key, int(number), int(process)) for at, what, key, number, process in found]


def declare(herd: Oxherd) -> None:
    herd.declare("order.placed", Order, key=lambda order: order[0], per_key=PerKey(max_running=1), lock=LOCK)


async def test_a_dead_workers_share_comes_back_within_twice_its_lock(
    tmp_path: Path, standalone: str, prefix: str, local_herd: Oxherd, start_worker: Callable[..., WorkerProcess]
) -> None:
    write_app(tmp_path, prefix)
    declare(local_herd)
    (tmp_path / "slow").touch()
    dies = start_worker(url=standalone)
    async with local_herd:
        placed = local_herd["order.placed"]
        await placed.emit_many([("a", 0), ("a", 1), ("b", 0)])
        await asyncio.to_thread(until_sync, lambda: len(ledger(tmp_path)) == 2)
        (tmp_path / "slow").unlink()
        lives = start_worker(url=standalone, log="other.jsonl")
        await asyncio.to_thread(lives.wait, "worker.start")
        dies.signal(signal.SIGKILL)
        killed = time.time()
        await asyncio.to_thread(dies.exit)
        await asyncio.to_thread(until_sync, lambda: sum(line[1] == "end" for line in ledger(tmp_path)) == 3)
        again = {(key, number): at for at, what, key, number, _ in ledger(tmp_path) if what == "begin"}
        assert again["a", 0] < again["a", 1]
        assert max(again.values()) - killed < 2 * LOCK + 0.2


async def test_workers_killed_at_random_lose_nothing_and_never_run_two_of_a_key(
    tmp_path: Path, standalone: str, prefix: str, local_herd: Oxherd, start_worker: Callable[..., WorkerProcess]
) -> None:
    write_app(tmp_path, prefix)
    declare(local_herd)
    emitted = [(key, number) for number in range(60) for key in "abc"]
    async with local_herd:
        await local_herd["order.placed"].emit_many(emitted)
        workers = [start_worker(url=standalone, log=f"{index}.jsonl") for index in range(2)]
        killed: dict[int, float] = {}
        for index in range(2, 4):
            await asyncio.to_thread(until_sync, lambda least=40 * (index - 1): len(ledger(tmp_path)) > least)
            await asyncio.sleep(random.uniform(0, 0.1))
            dies = workers.pop(0)
            dies.signal(signal.SIGKILL)
            await asyncio.to_thread(dies.exit)
            killed[dies.process.pid] = time.time()
            workers.append(start_worker(url=standalone, log=f"{index}.jsonl"))
        done = set(emitted)
        await asyncio.to_thread(
            until_sync, lambda: {(line[2], line[3]) for line in ledger(tmp_path) if line[1] == "end"} == done, 60
        )
        running: dict[str, int] = {}
        for _, what, key, _, process in sorted(ledger(tmp_path)):
            if what == "begin":
                assert running.get(key) is None or running[key] in killed
                running[key] = process
            else:
                running.pop(key, None)
        queue = await queue_of(local_herd)
        await until(lambda: nothing_left(local_herd))
        assert not any((await queue.counts()).values())


async def nothing_left(herd: Oxherd) -> bool:
    return await left_of_keys(await queue_of(herd)) == []


async def test_lists_that_are_lost_heal_once_the_far_score_falls_due(local_herd: Oxherd) -> None:
    runs = Runs()

    @local_herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await (runs.gates["go"].wait() if order[1] == 0 else runs.run(order))

    async with local_herd:
        await local_herd.start()
        await placed.emit_many([("a", number) for number in range(5)])
        queue = await queue_of(local_herd)
        k, client = queue.keys, queue.client
        await until(lambda: delayed(local_herd, 4))
        for key in [*await left_of_keys(queue), k.limited_keys]:
            await client.call(k.slot, "DEL", key)
        runs.gates["go"].set()
        await until(lambda: delayed(local_herd, 4))
        for job_id in await client.call(k.slot, "ZRANGE", k.delayed, 0, -1):
            assert (
                float(await client.call(k.slot, "ZSCORE", k.delayed, job_id)) / 0x1000 > (time.time() + 80_000) * 1000
            )
            await client.call(k.slot, "ZADD", k.delayed, int(time.time() * 1000) * 0x1000, job_id)
        await queue.wake()
        await runs.wait(4)
        assert runs.most["a"] == 1


async def delayed(herd: Oxherd, count: int) -> bool:
    return (await (await queue_of(herd)).counts())["delayed"] == count


async def test_a_share_whose_job_another_program_has_ended_is_free_for_the_next(local_herd: Oxherd) -> None:
    runs = Runs()

    @local_herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await (asyncio.sleep(60) if order[1] == 0 else runs.run(order))

    async with local_herd:
        await local_herd.start()
        first = await placed.emit(("a", 0))
        await placed.emit(("a", 1))
        queue = await queue_of(local_herd)
        k, client = queue.keys, queue.client
        await until(lambda: delayed(local_herd, 1))
        await client.call(k.slot, "LREM", k.active, 0, str(first.id))
        await client.call(k.slot, "DEL", k.job(str(first.id)), k.job(f"{first.id}:lock"))
        began = time.monotonic()
        await placed.emit(("a", 2))
        await runs.wait(2)
        assert time.monotonic() - began < 1
        assert runs.of("a") == [1, 2]
        await local_herd.stop(0)


async def test_limits_hold_through_an_outage(server: StandaloneServer, make_herd: MakeHerd) -> None:
    runs = Runs()
    herd = make_herd(server.url)

    @herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=2), lock=1, concurrency=10)
    async def placed(order: Order) -> None:
        await runs.run(order, 0.05)

    async with herd:
        await placed.emit_many([(key, number) for number in range(20) for key in "ab"])
        await herd.start()
        await runs.wait(6)
        server.kill()
        await asyncio.sleep(1.5)  # longer than the lock
        server.restart()
        await until(lambda: len(set(runs.ended)) == 40, 30)
        assert set(runs.most.values()) == {2}


@pytest.mark.parametrize("seed", range(6))
async def test_a_random_history_is_never_over_and_loses_nothing(
    standalone: str, make_herd: MakeHerd, seed: int
) -> None:
    draw = random.Random(seed)
    most, keys = draw.randint(1, 3), "abcd"[: draw.randint(1, 4)]
    rate = Rate(20, per=0.2) if draw.random() < 0.5 else None
    runs, done = Runs(), Counter[Order]()
    herds = [make_herd(standalone), make_herd(standalone)]
    limits = PerKey(max_running=most, rate=rate)
    for herd in herds:

        @herd.event(
            "order.placed",
            key=lambda order: order[0],
            per_key=limits,
            concurrency=6,
            retry=Retry(attempts=2, delay=0.01),
        )
        async def placed(order: Order, ctx: Context) -> None:
            await runs.run(order, draw.choice((0, 0.002, 0.02)))
            chance = draw.random()
            if ctx.attempt == 1 and chance < 0.1:
                raise ValueError
            if ctx.fence < 3 and chance < 0.2:
                raise Snooze(0.01) if chance < 0.15 else RateLimited(0.02)
            done[order] += 1
            if chance > 0.95:
                raise Discard("no use")

    first, second = herds
    emitted: list[Order] = []
    cancelled: set[Order] = set()
    async with first, second:
        event = first["order.placed"]
        await second.start()
        for step in range(80):
            order = (draw.choice(keys), step)
            emitted.append(order)
            priority, delay = draw.choice((0, 0, 0, 2)), draw.choice((0, 0, 0, 0.05))
            sent = await event.emit(order, priority=priority, delay=delay)
            chance = draw.random()
            if chance < 0.05 and await sent.cancel():
                cancelled.add(order)
            elif chance < 0.1:
                await event.pause(key=order[0])
                await asyncio.sleep(0.02)
                await event.resume(key=order[0])
            elif chance < 0.15:
                await (first.stop(0) if first.processing else first.start())
            elif chance < 0.4:
                await asyncio.sleep(draw.uniform(0, 0.02))
        await until(lambda: set(emitted) - cancelled <= done.keys(), 30)
        assert all(count <= most for count in runs.most.values())
        await until(lambda: nothing_left(first))
        await first.stop(5)
        await second.stop(5)
        counts = await (await queue_of(first)).counts()
        assert not any(counts[state] for state in ("wait", "active", "delayed", "prioritized"))


async def test_limits_are_written_again_after_a_server_has_lost_its_data(make_herd: MakeHerd) -> None:
    runs = Runs()
    with StandaloneServer() as forgets:
        herd = make_herd(forgets.url)

        @herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1), concurrency=10)
        async def placed(order: Order) -> None:
            await runs.run(order)

        async with herd:
            await herd.start()
            await placed.emit(("a", 0))
            await runs.wait(1)
            forgets.kill()
            await until(lambda: not all(herd.nodes().values()))
            forgets.restart()
            await placed.emit_many([("a", number) for number in range(1, 11)])
            await runs.wait(11)
            assert runs.most["a"] == 1
