"""The watchdog reports and restarts a fetching that makes no progress, loses nothing, and raises no false alarms."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from oxherd import Oxherd
from oxherd.servers.standalone import StandaloneServer
from oxherd.worker.fetching.slots import QueueSlots
from oxherd.worker.queue_worker import QueueWorker
from oxherd.worker.upkeep.watchdog import WatchdogTimes
from tests.harness import Records, until


@pytest.fixture
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


def named(name: str) -> asyncio.Task[Any]:
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return task


def only_worker(herd: Oxherd, queue: str) -> QueueWorker:
    (session,) = herd._sessions.all  # pyright: ignore[reportPrivateUsage]
    group = session.worker._groups[queue]  # pyright: ignore[reportPrivateUsage]
    return group._workers[queue]  # pyright: ignore[reportPrivateUsage]


def watch(herd: Oxherd, *, look: float, stuck: float = 15.0, hanging: float = 60.0) -> None:
    """Have the herd's watchdog look more often, and lose patience sooner."""
    herd._watchdog_times = WatchdogTimes(look, stuck, hanging)  # pyright: ignore[reportPrivateUsage]


def slots_of(herd: Oxherd, queue: str) -> QueueSlots:
    return only_worker(herd, queue).fetcher._slots  # pyright: ignore[reportPrivateUsage]


def connections(server: StandaloneServer) -> set[str]:
    """The ids of our connections."""
    text = str(server.command("CLIENT", "LIST"))
    clients = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in text.splitlines()]
    return {client["id"] for client in clients if client.get("name")}


def no_progress(records: Records) -> list[str]:
    """What was said of loops that had ended; what they had begun is reclaimed, and said as well."""
    faults = [vars(record)["error"] for record in records.named("queue.error", source="fetch", queue="{order.placed}")]
    assert {fault["type"] for fault in faults} <= {"NoProgress", "Reclaimed"}
    return [fault["message"] for fault in faults if fault["type"] == "NoProgress"]


async def test_a_crashed_fetch_loop_is_restarted_on_new_connections(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    watch(herd, look=0.5)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        first = await order_placed.emit(1)
        await records.wait("event.end", event_id=first.id)
        before = connections(server)
        for number in (2, 3):  # it is news each time
            named("oxherd-fetch-{order.placed}").cancel()
            emitted = await order_placed.emit(number)
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
            await until(lambda number=number: len(no_progress(records)) == number - 1)
        await until(lambda: len(connections(server)) == 2)
        assert not connections(server) & before
    assert no_progress(records)[0] == "the fetch loop had ended (CancelledError); it is restarted"
    assert not records.named("redis.error")


@pytest.mark.parametrize("url", ["standalone", "cluster"], indirect=True)
async def test_what_a_crashed_fetch_loop_had_begun_runs_once(herd: Oxherd, records: Records) -> None:
    watch(herd, look=1)
    runs: Counter[tuple[str, int]] = Counter()

    def declare(name: str) -> None:
        @herd.event(name, concurrency=20)
        async def handler(number: int) -> None:
            await asyncio.sleep(0.002)
            runs[name, number] += 1

    # Ended at another moment each: before it asks, while it waits for the answers, while it begins.
    moments = {f"order.{turns}": turns for turns in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)}
    for name in moments:
        declare(name)

    async def end_after(name: str, turns: int) -> None:
        await herd[name].start()
        for _ in range(turns):
            await asyncio.sleep(0)
        named(f"oxherd-fetch-{{{name}}}").cancel()

    async with herd:
        for name in moments:
            await herd[name].emit_many(range(50))
        await asyncio.gather(*(end_after(name, turns) for name, turns in moments.items()))
        await until(lambda: len(runs) == 50 * len(moments))
        await records.wait("queue.error", count=len(moments))
        await records.wait("event.end", count=50 * len(moments), outcome="completed")
        counts = [await (await herd.backend()).queue(event.declaration).counts() for event in herd]
        assert not any(any(count.values()) for count in counts)
    assert set(runs.values()) == {1}
    assert {vars(record)["fence"] for record in records.named("event.end")} <= {1, 2}
    assert {vars(record)["error"]["type"] for record in records.named("queue.error")} <= {"NoProgress", "Reclaimed"}


async def test_a_stop_takes_care_of_what_a_crashed_loop_left(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(1)
        await records.wait("event.end", event_id=emitted.id)
        named("oxherd-fetch-{order.placed}").cancel()
        await asyncio.sleep(0)
        emitted = await order_placed.emit(2)  # its wait goes on, and begins it
        await local_herd.stop()
        backend = await local_herd.backend()
        counts = await backend.queue(order_placed.declaration).counts()
        assert not counts["active"]
        assert counts["wait"] + len(records.named("event.end", event_id=emitted.id, outcome="completed")) == 1


async def test_a_crashed_lock_renewer_is_restarted(local_herd: Oxherd, records: Records) -> None:
    let_go = asyncio.Event()
    watch(local_herd, look=1.5)

    @local_herd.event("order.placed", lock=1)
    async def order_placed(number: int) -> None:
        await let_go.wait()

    async with local_herd:
        backend = await local_herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        await local_herd.start()
        emitted = await order_placed.emit(1)
        await records.wait("event.begin")
        named("oxherd-renew-{order.placed}").cancel()
        (fault,) = await records.wait("queue.error")
        assert fault.source == "lock"
        # It had run out, and is taken again; nobody looked for stalled events before.
        await until(lambda: backend.client.call(keys.slot, "EXISTS", f"{keys.job(str(emitted.id))}:lock"), deadline=2)
        let_go.set()
        await records.wait("event.end", event_id=emitted.id, outcome="completed", fence=1)
    assert len(records.named("queue.error")) == 1


async def test_a_hanging_fetch_loop_is_restarted_and_the_slots_that_it_held_are_free_again(
    server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    watch(herd, look=0.5, stuck=2)

    @herd.event("order.placed", concurrency=3)
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        emitted = await order_placed.emit(1)
        await records.wait("event.end", event_id=emitted.id)
        before = connections(server)
        # As if a fault of ours had lost every slot: the loop waits for one that nobody releases.
        slots_of(herd, "{order.placed}").acquire_over_limit(3)
        many = await order_placed.emit_many(range(10))
        (fault,) = await records.wait("queue.error", deadline=30)
        assert fault.error["type"] == "NoProgress"
        for emitted in many:
            await records.wait("event.end", event_id=emitted.id, outcome="completed")
        assert not connections(server) & before
        await until(lambda: slots_of(herd, "{order.placed}").held == 1)  # for the fetch behind the idle wait
    assert len(records.named("queue.error")) == 1
    assert not records.named("redis.error")


async def test_an_event_whose_marker_is_lost_begins_within_seconds(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with local_herd:
        backend = await local_herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        await local_herd.start()
        await until(lambda: only_worker(local_herd, "{order.placed}").fetcher.replies_seen)
        # As BullMQ adds a job, but for the marker.
        job = ("name", "order.placed", "data", "1", "opts", "{}", "timestamp", "1790000000000")
        await backend.client.call(keys.slot, "HSET", keys.job("1"), *job)
        await backend.client.call(keys.slot, "LPUSH", keys.wait, "1")
        await records.wait("event.end", outcome="completed", deadline=8)
    assert not records.named("queue.error")


class Relay:
    """Stands between a worker and its server, and can let a connection's bytes vanish without closing it."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._swallowed: set[int] = set()
        self._seen: dict[int, bytes] = {}
        self.port = 0

    def found(self, *, waits: bool) -> set[int]:
        """The connections that wait, or those that do not."""
        return {number for number, seen in self._seen.items() if (b"BZPOPMIN" in seen) is waits}

    def swallow(self, connections: set[int]) -> None:
        """From now on nothing passes on these connections."""
        self._swallowed |= connections

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Relay]:
        listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            # Closed here, not by the tasks alone: one that is cancelled before it has begun closes nothing.
            while self._tasks:
                for writer in self._writers:
                    writer.close()
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own, which the end waits for: a client may connect as the last thing that happens.
        self._writers.append(writer)
        self._begin(self._join(reader, writer))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self._seen)
        self._seen[number] = b""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers.append(up_writer)
        for pair in ((reader, up_writer, True), (up_reader, writer, False)):
            self._begin(self._pass_on(number, *pair))

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        try:
            while data := await reader.read(65536):
                if up:
                    self._seen[number] += data
                if number not in self._swallowed:
                    writer.write(data)
        except ConnectionError:
            return
        finally:
            writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False])
async def test_a_connection_whose_bytes_vanish_is_replaced(
    waits: bool, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    async with Relay(server.port).running() as relay:
        herd = make_herd(server.url.replace(f":{server.port}/", f":{relay.port}/"))
        other = make_herd(server.url).declare("order.placed", int)

        @herd.event("order.placed")
        async def order_placed(number: int) -> None: ...

        async with herd, other.herd:
            await herd.start()
            emitted = await other.emit(1)
            await records.wait("event.end", event_id=emitted.id)
            relay.swallow(await until(lambda: relay.found(waits=True) and relay.found(waits=waits)))
            began = time.monotonic()
            for emitted in await other.emit_many(range(30)):
                await records.wait("event.end", event_id=emitted.id, outcome="completed")
            assert time.monotonic() - began < 15
            await records.wait("redis.recovered")
        assert len(records.named("redis.error")) == len(records.named("redis.recovered"))
        assert {vars(record)["error"]["type"] for record in records.named("queue.error")} <= {"Reclaimed"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["paused", "full"])
async def test_an_outage_is_no_fault_of_the_fetching(
    how: str, server: StandaloneServer, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(server.url)
    watch(herd, look=0.5, stuck=2)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        await order_placed.emit_many(range(10))
        if how == "paused":
            await herd.start()
            await records.wait("event.end", count=10)
            server.pause()
        else:
            server.command("CONFIG", "SET", "maxmemory", "1")  # whoever asks for an event is refused, who counts is not
            await herd.start()
        await records.wait("redis.error")
        await asyncio.sleep(4)  # twice what would be a fault
        if how == "paused":
            server.resume()
        else:
            server.command("CONFIG", "SET", "maxmemory", "0")
        await records.wait("redis.recovered")
        await order_placed.emit(11)
        await records.wait("event.end", count=11)
    assert not records.named("queue.error")
    assert len(records.named("redis.error")) == 1


async def test_a_blocked_loop_is_no_fault_of_the_fetching(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    herd = make_herd(standalone, emit_timeout=60)
    watch(herd, look=0.5, stuck=2)

    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    async with herd:
        await herd.start()
        emitting = asyncio.create_task(order_placed.emit(1))
        await asyncio.sleep(0)
        time.sleep(4)  # noqa: ASYNC251 - it is to block
        await emitting
        await records.wait("event.end")
        await asyncio.sleep(1)  # the next look
    assert not records.named("queue.error")
    assert not records.named("redis.error")


@pytest.mark.slow
async def test_only_handlers_that_hang_are_reported(
    local_herd: Oxherd, standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    let_go = asyncio.Event()
    # Longer than an idle queue's looks, of which there is one every 5 s.
    watch(local_herd, look=0.5, stuck=8, hanging=8)

    async def waits(number: int) -> None:
        await let_go.wait()

    hangs = local_herd.event("hangs", concurrency=2)(waits)
    has_time = local_herd.event("has.time", concurrency=2, timeout=1000)(waits)
    idle = local_herd.event("hangs.but.nothing.waits", concurrency=1)(waits)
    busy = local_herd.event("busy", concurrency=1)(_seconds)
    ordered = local_herd.event("ordered", ordered=True)(_seconds)
    one = local_herd.event("shared.one", queue="{shared}", concurrency=1)(waits)
    two = local_herd.event("shared.two", queue="{shared}", concurrency=1)(_seconds)
    delayed = local_herd.event("delayed")(_seconds)
    paused = local_herd.event("paused")(_seconds)
    limited = local_herd.event("limited")(_seconds)
    elsewhere = local_herd.event("full.elsewhere")(_seconds)
    async with local_herd:
        backend = await local_herd.backend()

        async def settle(event: Any, *fields: Any) -> None:
            keys = backend.queue(event.declaration).keys
            await backend.client.call(keys.slot, "HSET", keys.meta, *fields)

        await settle(paused, "paused", 1)
        await settle(limited, "max", 1, "duration", 100_000)
        await settle(elsewhere, "concurrency", 0)
        for event in (hangs, has_time, paused, limited, elsewhere):
            await event.emit_many([0] * 5)
        await idle.emit(0)
        await one.emit_many([0] * 3)
        for event in (busy, ordered, two):
            await event.emit_many([3] * 6)
        await delayed.emit_many([0] * 5, delay=3600)
        await local_herd.start()
        await records.wait("event.end", count=3, event="ordered")
        await until(lambda: records.named("queue.error"))
        await asyncio.sleep(1)  # two more looks
        faults = [vars(record) for record in records.named("queue.error")]
        assert [(fault["source"], fault["queue"], fault["error"]["type"]) for fault in faults] == [
            ("fetch", "{hangs}", "NoProgress")
        ]
        assert faults[0]["error"]["message"] == (
            "events wait, and all 2 slots are held by handlers that have run for more than 8 s; "
            "give the event a timeout"
        )
        assert len(records.named("event.end", event="limited")) == 1
        assert len(records.named("event.end", event="ordered")) == 3
        let_go.set()
        await records.wait("event.end", count=5, event="hangs")
        await local_herd.stop(timeout=0)
    assert len(records.named("queue.error")) == 1


async def _seconds(number: int) -> None:
    await asyncio.sleep(number)
