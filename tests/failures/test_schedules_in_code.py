"""Schedules in code while workers of two versions die, and servers forget or fail over: each tick makes one event."""

from __future__ import annotations

import asyncio
import random
import signal
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oxherd import Cron, Every, Oxherd, Schedule
from oxherd.bullmq.job import event_id_text
from oxherd.bullmq.schedulers import Upsert
from oxherd.bullmq.worker_records import SILENCE_MS
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until

APP = """
from oxherd import Every, Oxherd, Schedule

herd = Oxherd(prefix={prefix!r})

@herd.event("beat", lock=1, schedules={{
    "often": Schedule(Every(0.5), {version}),
    "each": Schedule(Every(0.5), {version}, missed="all"),
}})
async def beat(version: int) -> None: ...
"""
EVERY_MS = 500
YEARLY = Cron("0 0 1 1 *")


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    """A server of the test's own, that forgets everything when it ends."""
    with StandaloneServer() as server:
        yield server


def ticks_by_id(schedule: str, first: int, last: int) -> dict[str, int]:
    """The ticks of a schedule from one to another, by the ids of their events."""
    return {event_id_text("{beat}", f"repeat:{schedule}:{tick}"): tick for tick in range(first, last + 1, EVERY_MS)}


@pytest.mark.slow
async def test_ten_workers_of_two_versions_killed_at_random_for_a_minute_make_each_tick_once(
    standalone: str, make_herd: Callable[..., Oxherd], tmp_path: Path, prefix: str
) -> None:
    for version in (1, 2):
        (tmp_path / str(version)).mkdir()
        text = textwrap.dedent(APP).format(prefix=prefix, version=version)
        (tmp_path / str(version) / "app.py").write_text(text)
    every: list[WorkerProcess] = []

    def start(version: int) -> tuple[int, WorkerProcess]:
        folder = tmp_path / str(version)
        every.append(WorkerProcess(folder, url=standalone, log=f"{len(every)}.jsonl"))
        return version, every[-1]

    rng = random.Random(7)
    try:
        live = [start(1) for _ in range(7)]
        async with make_herd(standalone) as herd:
            beat = herd.declare("beat", int)
            backend = await herd.backend()
            schedulers = backend.schedulers(backend.queue(beat.declaration))

            async def last_tick(schedule: str = "each") -> int:
                return (await schedulers.state(schedule)).last_ms

            first = await until(last_tick, deadline=60) + 2 * EVERY_MS
            live += [start(2) for _ in range(3)]
            await until(lambda: _is(beat, 2), deadline=60)
            end = asyncio.get_running_loop().time() + 60
            while asyncio.get_running_loop().time() < end:
                await asyncio.sleep(rng.uniform(1, 3))
                version, worker = live.pop(rng.randrange(len(live)))
                worker.signal(signal.SIGKILL)
                live.append(start(version))
            last = await last_tick()
            assert last - first > 60_000 - 2 * EVERY_MS, "ticks go on while workers die"
            for schedule in ("often", "each"):
                record = (await schedulers.state(schedule)).record
                assert record is not None
                assert record.data == 2

            # What killed workers had begun is begun again once its lock has run out.
            def begun() -> Counter[tuple[str, int]]:
                records = [record for worker in every for record in worker.records() if record["msg"] == "event.begin"]
                return Counter((record["event_id"], record["fence"]) for record in records)

            wanted = ticks_by_id("each", first, last).keys()
            await until(lambda: wanted <= {event_id for event_id, _ in begun()}, every=0.5)
            found = begun()
            assert set(found.values()) == {1}, "no run of a tick begins twice"
            ids = {event_id for event_id, _ in found}
            often = ticks_by_id("often", first - 200 * EVERY_MS, last + 200 * EVERY_MS).keys()
            each = ticks_by_id("each", first - 200 * EVERY_MS, last + 200 * EVERY_MS).keys()
            assert ids <= often | each, "ticks are multiples of the interval"
            # Ticks that came due while the worker that had begun the one before was dead are made up by one.
            assert len(ids & ticks_by_id("often", first, last).keys()) > 0.8 * len(wanted)
    finally:
        for worker in every:
            worker.close()


def version_of(
    url: str, make_herd: Callable[..., Oxherd], number: int, every: float | None = None
) -> tuple[Oxherd, Any]:
    herd = make_herd(url)
    when = YEARLY if every is None else Every(every)

    @herd.event("beat", schedules={"often": Schedule(when, number)})
    async def beat(version: int) -> None: ...

    return herd, beat


async def stored_version(event: Any) -> int:
    backend = await event.herd.backend()
    state = await backend.schedulers(backend.queue(event.declaration)).state("often")
    return 0 if state.record is None else state.record.data


@pytest.mark.slow
async def test_a_rollback_takes_effect_when_the_last_newer_worker_is_gone(
    standalone: str, make_herd: Callable[..., Oxherd]
) -> None:
    """Also for a worker of the old version that starts after the new one."""
    old, first = version_of(standalone, make_herd, 1)
    new, _ = version_of(standalone, make_herd, 2)
    late, again = version_of(standalone, make_herd, 1)
    async with old, new, late:
        await old.start()
        await until(lambda: _is(first, 1))
        await new.start()
        await until(lambda: _is(first, 2))
        await old.stop()
        await late.start()
        # It would have stored its own by now, if at all: it looks every five seconds.
        await asyncio.sleep(6)
        assert await stored_version(again) == 2
        await new.stop()
        await until(lambda: _is(again, 1), deadline=SILENCE_MS / 1000 + 10)


async def _is(event: Any, number: int) -> bool:
    return await stored_version(event) == number


@pytest.mark.slow
async def test_a_server_that_has_forgotten_everything_is_told_again_and_by_the_newest(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    old, first = version_of(server.url, make_herd, 1, every=0.5)
    new, _ = version_of(server.url, make_herd, 2, every=0.5)
    async with old, new:
        await old.start()
        await until(lambda: _is(first, 1))
        await new.start()
        await until(lambda: _is(first, 2))
        await records.wait("event.end", count=2)
        backend = await old.backend()
        await backend.client.call(0, "FLUSHALL")
        await until(lambda: _is(first, 2))
        # The old one's worker stores nothing: it tells when it was first seen.
        await records.wait("event.end", count=len(records.named("event.end")) + 14)
        assert await stored_version(first) == 2
        begun = [vars(record)["event_id"] for record in records.named("event.begin")]
        assert len(begun) == len(set(begun))


@pytest.mark.slow
async def test_a_schedule_goes_on_after_a_fail_over_of_the_cluster(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with LocalCluster() as cluster:
        herd, event = version_of(cluster.url, make_herd, 1, every=0.5)
        async with herd:
            await herd.start()
            await records.wait("event.end", count=2)
            keys = (await herd.backend()).queue(event.declaration).keys
            primary = cluster.primary_of(keys.slot)
            primary.kill()
            await records.wait("redis.recovered", deadline=60)
            await records.wait("event.end", count=len(records.named("event.end")) + 3)
            begun = Counter((vars(each)["event_id"], vars(each)["fence"]) for each in records.named("event.begin"))
            assert len(await event.schedules()) == 1
            assert max(begun.values()) == 1


@pytest.mark.parametrize(("ahead_ms", "believed"), [(10_000, True), (2 * 365 * 86_400_000, False)])
async def test_a_tick_that_began_by_a_clock_ahead_is_not_made_again_unless_that_clock_is_absurd(
    ahead_ms: int, believed: bool, local_herd: Oxherd
) -> None:
    beat = local_herd.declare("beat", int)
    async with local_herd:
        backend = await local_herd.backend()
        queue = backend.queue(beat.declaration)
        last = await queue.server_ms() + ahead_ms
        await queue.client.call(queue.keys.slot, "ZADD", queue.keys.ticks, last, "often")
        await beat.schedule("often", Every(1), 1)
        state = await backend.schedulers(queue).state("often")
        assert state.record is not None
        assert (state.record.next_ms > last) == believed


async def test_who_has_read_a_schedule_before_a_tick_began_stores_nothing(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("beat")
    async def beat(version: int) -> None: ...

    async with local_herd:
        await beat.schedule("often", Every(0.2), 1)
        backend = await local_herd.backend()
        schedulers = backend.schedulers(backend.queue(beat.declaration))
        read = await schedulers.state("often")
        assert read.record is not None
        await local_herd.start()
        await records.wait("event.begin")
        deadline = asyncio.get_running_loop().time() + 5
        stored = await schedulers.upsert(
            read, "beat", read.record.repeat, b"2", {}, read.record.next_ms, "undeclared", deadline=deadline
        )
        assert stored is Upsert.CHANGED
        await beat.unschedule("often")
