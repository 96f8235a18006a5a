"""The relay from an event's outcome to its `on_failed`: workers that die on the way, servers that are away, damage."""

from __future__ import annotations

import asyncio
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oxherd import Context, Event, EventError, Failure, Oxherd, Retry
from oxherd.bullmq.outbox import Message
from oxherd.bullmq.queue import BullQueue
from oxherd.payload.failure import failure_json
from oxherd.redis.client import Argument
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, WorkerProcess, until
from tests.lossy import LossyWay

# A sweep takes what is older than ten seconds, and comes every ten seconds at most.
SWEPT = 40.0

APP = """
import os, signal
from pathlib import Path
from oxherd import Failure, Oxherd, Retry
from oxherd.signals import EventsEmitted

herd = Oxherd(prefix={prefix!r})

def die_if_told(name):
    if Path(name).exists():
        Path(name).unlink()
        os.kill(os.getpid(), signal.SIGKILL)

def customer(failure):
    die_if_told("die before the add")
    return None

@herd.event({target!r}, key=customer, shards=2)
async def told(failure: Failure[int]) -> None:
    print(failure.id, flush=True)

@herd.event("invoice.send", on_failed=told, retry=Retry(attempts=1), lock=2)
async def send_invoice(number: int) -> None:
    raise ValueError

def on_emitted(signal):
    if signal.event == {target!r}:
        die_if_told("die after the add")

herd.signals.subscribe(on_emitted, EventsEmitted)
"""


@pytest.fixture
def write_app(tmp_path: Path, prefix: str) -> Callable[[str], Path]:
    def write(target: str = "invoice.failed") -> Path:
        (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix, target=target))
        return tmp_path

    return write


def emit(url: str, prefix: str) -> str:
    """Emit one that will fail; returns its id."""
    herd = Oxherd(url, prefix=prefix)
    emitted = herd.declare("invoice.send", int).emit_sync(1)
    herd.close_sync()
    return str(emitted.id)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the add", "after the add"])
def test_a_worker_that_is_killed_between_the_outcome_and_the_relay_loses_no_failure(
    when: str, standalone: str, write_app: Callable[..., Path], prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    app = write_app()
    (app / f"die {when}").touch()
    event_id = emit(standalone, prefix)
    first = start_worker("--event", "invoice.send", url=standalone, log="first.jsonl")
    assert first.exit() == -signal.SIGKILL
    assert not (app / f"die {when}").exists()
    second = start_worker(url=standalone, log="second.jsonl")
    second.wait("event.end", event="invoice.failed", outcome="completed", deadline=SWEPT)
    if when == "after the add":  # the second has its event at once: wait until it has swept as well
        watched = Oxherd(standalone, prefix=prefix)

        async def swept() -> None:
            async with watched:
                await until(lambda: left(watched), deadline=SWEPT)

        async def left(herd: Oxherd) -> bool:
            backend = await herd.backend()
            keys = backend.queue_named("{invoice.send}").keys
            return not await backend.client.call(keys.slot, "HLEN", keys.outbox)

        asyncio.run(swept())
    assert second.stop() == 0
    assert second.output.read_text().split() == [event_id]
    assert second.count("event.begin", event="invoice.failed") == 1
    assert not second.count("event.begin", event="invoice.send")


@pytest.mark.slow
def test_a_worker_that_is_killed_while_the_targets_server_is_away_loses_no_failure(
    write_app: Callable[..., Path], prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    with LocalCluster() as cluster:
        source = cluster.primary_of(f"{prefix}:{{invoice.send}}:")
        target = next(
            name
            for name in (f"told.{number}" for number in range(50))
            if cluster.primary_of(f"{prefix}:{{{name}}}:").port != source.port
        )
        write_app(target)
        away = cluster.primary_of(f"{prefix}:{{{target}}}:")
        first = start_worker("--event", "invoice.send", url=cluster.url, log="first.jsonl")
        first.wait("worker.start")
        away.pause()
        event_id = emit(cluster.url, prefix)
        first.wait("event.end", event="invoice.send", outcome="failed")
        first.signal(signal.SIGKILL)
        first.exit()
        away.resume()
        second = start_worker(url=cluster.url, log="second.jsonl")
        second.wait("event.end", event=target, outcome="completed", deadline=SWEPT)
        assert second.stop() == 0
        assert second.output.read_text().split() == [event_id]


class Told:
    """Declares a herd's `invoice.send` and `invoice.failed`, which keeps what it is given."""

    def __init__(self, herd: Oxherd, **options: Any) -> None:
        self.herd = herd
        self.gate: asyncio.Event | None = None
        self.failures: list[Failure[int]] = []

        @herd.event("invoice.failed", **options)
        async def invoice_failed(failure: Failure[int]) -> None:
            self.failures.append(failure)

        @herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
        async def send_invoice(number: int) -> None:
            if self.gate is not None:
                await self.gate.wait()
            raise ValueError

        self.source: Event[int, None] = send_invoice
        self.target = invoice_failed

    async def wait(self, count: int = 1) -> Failure[int]:
        await until(lambda: len(self.failures) >= count)
        return self.failures[-1]

    async def queue(self) -> BullQueue:
        return (await self.herd.backend()).queue(self.source.declaration)

    async def put(self, job_id: str, **fields: Argument) -> None:
        """Add a job as another program may."""
        queue = await self.queue()
        right: dict[str, Argument] = {"name": "invoice.send", "data": "7", "opts": "{}", "timestamp": 1700000000000}
        pairs = [part for pair in (right | fields).items() for part in pair]
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(job_id), *pairs)
        await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.wait, job_id)


@pytest.mark.parametrize(
    ("fields", "payload", "error", "message"),
    [
        ({"data": '"no number"'}, "no number", "InvalidPayload", "does not fit"),
        ({"data": "{no json"}, None, "InvalidPayload", "does not fit"),
        ({"atm": "x"}, 7, "DamagedJob", "a counter is not a number"),
        ({"opts": "[]"}, 7, "DamagedJob", "its options are damaged"),
        ({"stc": "5"}, 7, "Stalled", "job stalled more than allowable limit"),
        ({"defa": "the secret of another program"}, 7, "DeferredFailure", "another program lets it fail"),
    ],
    ids=["payload", "no json", "counter", "options", "stalled", "deferred"],
)
async def test_a_job_that_fails_without_a_run_is_told(
    fields: dict[str, Argument], payload: object, error: str, message: str, local_herd: Oxherd
) -> None:
    told = Told(local_herd)
    job_id = str(uuid4())
    async with local_herd:
        await told.put(job_id, **fields)
        await local_herd.start()
        failure = await told.wait()
    assert (str(failure.id), failure.payload, failure.error.type) == (job_id, payload, error)
    assert failure.attempts == 0
    assert message in failure.error.message
    assert "secret" not in failure.error.message


async def test_a_job_whose_key_holds_no_hash_is_told_and_one_of_node_is_sent_back_under_its_own_id(
    local_herd: Oxherd, records: Records
) -> None:
    told = Told(local_herd)
    async with local_herd:
        queue = await told.queue()
        await queue.client.call(queue.keys.slot, "SET", queue.keys.job("5"), "no hash")
        await queue.client.call(queue.keys.slot, "LPUSH", queue.keys.wait, "5")
        await local_herd.start()
        assert (await told.wait()).payload is None
        await told.put("6", opts='{"attempts":1}')
        failure = await told.wait(2)
        assert failure.id.version == 5
        assert await failure.send_back()
        await told.wait(3)
    assert not records.named("queue.error", source="emit")


async def test_a_damaged_outbox_keeps_the_whole_outcome_back_until_it_is_mended(
    local_herd: Oxherd, records: Records
) -> None:
    told = Told(local_herd)
    async with local_herd:
        queue = await told.queue()
        await queue.client.call(queue.keys.slot, "SET", queue.keys.outbox, "no hash")
        await local_herd.start()
        await told.source.emit(1)
        await records.wait("queue.error", source="finish")
        counts = await queue.counts()
        assert (counts["active"], counts["failed"]) == (1, 0)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.outbox)
        await told.wait()
        assert (await queue.counts())["failed"] == 1
    assert len(told.failures) == 1
    assert len(records.named("event.begin", event="invoice.send")) == 1


async def test_a_target_that_does_not_take_it_is_reported_once_and_gets_it_when_mended(
    local_herd: Oxherd, records: Records
) -> None:
    told = Told(local_herd)
    async with local_herd:
        target = (await local_herd.backend()).queue(told.target.declaration)
        await target.client.call(target.keys.slot, "SET", target.keys.wait, "no list")
        await told.source.start()
        await told.source.emit_many([1, 2, 3])
        await records.wait("event.end", count=3, event="invoice.send", outcome="failed")
        await records.wait("queue.error", source="emit")
        await asyncio.sleep(1)  # several attempts, still one record
        assert len(records.named("queue.error", source="emit")) == 1
        await target.client.call(target.keys.slot, "DEL", target.keys.wait)
        await told.target.start()
        await told.wait(3)
    assert sorted(failure.payload for failure in told.failures) == [1, 2, 3]


async def test_what_this_worker_does_not_know_is_left_to_others_and_said_once(
    local_herd: Oxherd, records: Records
) -> None:
    told = Told(local_herd)
    async with local_herd:
        queue = await told.queue()
        client, keys = queue.client, queue.keys
        await client.call(keys.slot, "HSET", keys.outbox, str(uuid4()), b"17 nonsense")
        await local_herd.start()
        (error,) = await records.wait("queue.error", source="emit")
        assert "left to workers that know better" in error.error["message"]
        await told.source.emit(1)
        await told.wait()
        await until(lambda: held(queue, 1))


async def held(queue: BullQueue, count: int) -> bool:
    return int(await queue.client.call(queue.keys.slot, "HLEN", queue.keys.outbox)) == count


async def test_an_outage_between_the_outcome_and_the_handler_is_waited_for(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        herd = make_herd(server.url)
        told = Told(herd)
        async with herd:
            await herd.start()
            emits = [await told.source.emit(number) for number in range(200)]
            await records.wait("event.end", count=20, event="invoice.send")
            server.kill()
            await records.wait("redis.error")
            server.start()
            await told.wait(200)
            queue = await told.queue()
            await until(lambda: held(queue, 0))
    assert {failure.id for failure in told.failures} == {each.id for each in emits}
    # A handler's run may be repeated, as any event's; its Failure is one event.
    assert len({vars(record)["event_id"] for record in records.named("event.begin", event="invoice.failed")}) == 200


async def test_what_the_dead_have_left_is_sent_in_bounded_pages_though_one_target_takes_nothing(
    local_herd: Oxherd, records: Records
) -> None:
    seen: list[int] = []

    @local_herd.event("refused", queue="{billing}")
    async def refused(failure: Failure[int]) -> None: ...

    @local_herd.event("taken", concurrency=100)
    async def taken(failure: Failure[int]) -> None:
        seen.append(failure.payload)

    @local_herd.event("one", queue="{sources}", on_failed=refused)
    async def one(number: int) -> None: ...

    @local_herd.event("two", queue="{sources}", on_failed=taken)
    async def two(number: int) -> None: ...

    async with local_herd:
        backend = await local_herd.backend()
        source, target = backend.queue_named("{sources}"), backend.queue_named("{billing}")
        await target.client.call(target.keys.slot, "SET", target.keys.wait, "no list")
        for number in range(3000):
            event, told = ("two", "taken") if number % 2 else ("one", "refused")
            await leave(source, event, told, number)
        await two.start()
        await taken.start()
        await until(lambda: len(seen) >= 1500)
        await until(lambda: held(source, 1500))
        assert len(records.named("queue.error", source="emit")) == 1
    assert sorted(seen) == list(range(1, 3000, 2))


async def leave(queue: BullQueue, event: str, told: str, payload: int) -> None:
    """Leave a message as a worker that has died long ago."""
    event_id = str(uuid4())
    data = failure_json(
        event=event, event_id=event_id, data=b"%d" % payload, error=EventError("ValueError", "no"), attempts=1,
        caused_by=None, root=event_id, failed_ms=17, shard=0, job_id=event_id,
    )  # fmt: skip
    message = Message(str(uuid4()), told, data, "")
    value = b"17 " + message.packed.removeprefix(message.id.encode())
    await queue.client.call(queue.keys.slot, "HSET", queue.keys.outbox, message.id, value)


@pytest.mark.parametrize("lost", ["of the outcome", "of the add"])
async def test_a_lost_answer_makes_no_second_failure(
    lost: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer() as server:
        async with LossyWay(server.url) as way:

            def lose(failure: Failure[int]) -> None:  # asked just before the add
                if lost == "of the add" and failure.payload == 2:
                    way.lose_answers()

            herd, other = make_herd(way.url), make_herd(server.url)
            told, there = Told(herd, shards=2, key=lose), Told(other, shards=2)
            async with herd, other:
                await told.source.start()
                await there.target.start()
                await told.source.emit(1)  # now the server knows the scripts
                await there.wait()
                queue = await there.queue()
                await until(lambda: held(queue, 0))
                told.gate = asyncio.Event()
                await told.source.emit(2)
                await records.wait("event.begin", count=2, event="invoice.send")
                if lost == "of the outcome":
                    way.lose_answers()
                told.gate.set()
                await until(lambda: failed(queue, 2))
                if lost == "of the add":
                    await there.wait(2)
                    assert await held(queue, 1)
                way.cut()
                await there.wait(2)
                await until(lambda: held(queue, 0))
                await records.wait("event.end", event="invoice.send", count=2, outcome="failed")
    assert [failure.payload for failure in there.failures] == [1, 2]


async def failed(queue: BullQueue, count: int) -> bool:
    return (await queue.counts())["failed"] == count


async def test_a_durable_target_keeps_the_message_until_its_event_is_confirmed(
    make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer(settings={"appendonly": "no"}) as server:
        herd = make_herd(server.url)
        told = Told(herd, durable=True)
        async with herd:
            await herd.start()
            await told.source.emit(1)
            (error,) = await records.wait("queue.error", source="emit")
            queue = await told.queue()
            assert await held(queue, 1)
            assert "append-only file is off" in error.error["message"]
            assert not told.failures
            await queue.client.call(queue.keys.slot, "CONFIG", "SET", "appendonly", "yes")
            await until(lambda: held(queue, 0))
            assert len(told.failures) == 1


async def test_the_handler_of_failures_may_have_an_on_failed_of_its_own(local_herd: Oxherd) -> None:
    seen: list[tuple[Failure[Any], Context]] = []

    @local_herd.event("last.resort")
    async def last_resort(failure: Failure[Any], ctx: Context) -> None:
        seen.append((failure, ctx))

    @local_herd.event("invoice.failed", on_failed=last_resort, retry=Retry(attempts=1))
    async def invoice_failed(failure: Failure[int]) -> None:
        raise LookupError

    @local_herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
    async def send_invoice(number: int) -> None:
        raise ValueError

    async with local_herd:
        await local_herd.start()
        emitted = await send_invoice.emit(7)
        await until(lambda: seen)
    ((failure, ctx),) = seen
    assert (failure.event, failure.error.type) == ("invoice.failed", "LookupError")
    told: Failure[int] = failure.payload
    assert (told.payload, told.id) == (7, emitted.id)
    assert failure.root == ctx.root == emitted.id
    assert failure.caused_by == emitted.id
