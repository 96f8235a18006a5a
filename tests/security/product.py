"""The whole range of the product, run with one URL: what a user with the documented rights must be able to do.

What needs a right that nothing else needs belongs here, and that right into docs/operations.md: a new part is one more
function in `FEATURES`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel

from oxherd import (
    Context,
    Cron,
    Debounce,
    Discard,
    Every,
    Failure,
    Keep,
    Oxherd,
    PerKey,
    Rate,
    RateLimited,
    Retry,
    Schedule,
    Unique,
)
from oxherd.admin import Audited
from oxherd.telemetry.prometheus import Metrics
from tests.harness import DEADLINE, Records, WorkerProcess, cli, until
from tests.security import foreign
from tests.security.rights import USER, AuditedServer

LOCK = 0.5

APP = f"""
import os, signal
from oxherd import Context, Oxherd

herd = Oxherd()

@herd.event("app.process", run_in="process")
def process(order: dict[str, object], ctx: Context) -> None:
    ctx.progress_sync({{"at": 1}})

@herd.event("app.killed", lock={LOCK})
async def killed(order: dict[str, object]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Order(BaseModel):
    number: int = 0
    customer: str = "a"


@dataclass
class ProductRun:
    """Where the product runs, and what it has logged."""

    place: AuditedServer
    records: Records
    folder: Path
    start_worker: Callable[..., WorkerProcess]

    def herd(self, *, batched: bool = True) -> Oxherd:
        return Oxherd(self.place.url, batched=batched)

    async def ended(self, event: str, count: int, outcome: str | None = None) -> None:
        """Wait until so many runs of an event have ended."""
        fields = {} if outcome is None else {"outcome": outcome}
        await self.records.wait("event.end", count=count, deadline=DEADLINE, event=event, **fields)


async def emitting(run: ProductRun) -> None:
    """At once, alone and many; later; before others; with an id of one's own, twice; from code without a loop."""
    for name, batched in (("emit.batched", True), ("emit.plain", False)):
        herd = run.herd(batched=batched)

        @herd.event(name)
        async def placed(order: Order) -> None: ...

        async with herd:
            own = uuid4()
            await placed.emit(Order(), id=own)
            await placed.emit(Order(), id=own)
            await placed.emit_many([Order(number=n) for n in range(5)])
            await placed.emit(Order(), priority=3)
            await placed.emit_many([Order(), Order()], priority=2)
            await placed.emit(Order(), delay=timedelta(milliseconds=50))
            await asyncio.to_thread(placed.emit_sync, Order())
            await herd.start()
            await run.ended(name, 11)
            # While the worker is idle, and while what is delayed comes due under way.
            await placed.emit(Order())
            await placed.emit(Order(), delay=0.2)
            await placed.emit(Order(), delay=0.2, id=own)
            await run.ended(name, 14)


async def outcomes(run: ProductRun) -> None:
    """Completed and kept, by number and age; retried; failed and kept; discarded; progress on the way."""
    for batched in (True, False):
        herd = run.herd(batched=batched)
        name = f"outcome.{batched}".lower()
        keep = Keep(completed=20, failed=2, completed_for=timedelta(seconds=1), failed_for=timedelta(hours=1))

        @herd.event(name, keep=keep, retry=Retry(attempts=2, delay=0.05))
        async def placed(order: Order, ctx: Context) -> str:
            await ctx.progress({"at": order.number})
            if order.number == 1 and ctx.attempt == 1:
                raise ConnectionError("try again")
            if order.number == 2:
                raise ValueError("never")
            if order.number == 3:
                raise Discard("of no use")
            return "receipt"

        @herd.event(f"{name}.at-once", retry=Retry(attempts=2, delay=0))
        async def at_once(order: Order, ctx: Context) -> None:
            if ctx.attempt == 1:
                raise ConnectionError("try again")

        async with herd:
            await placed.emit_many([Order(number=n % 5) for n in range(20)])
            await at_once.emit(Order())
            await herd.start()
            await run.ended(name, 28)
            await run.ended(at_once.name, 2)
            # By now those that are kept are too old.
            await asyncio.sleep(1.1)
            await placed.emit(Order())
            await run.ended(name, 29)


async def answers(run: ProductRun) -> None:
    """Results awaited and asked for late, statuses, updates from the begin and from a position."""
    for batched in (True, False):
        herd = run.herd(batched=batched)

        @herd.event(f"answers.{batched}".lower())
        async def placed(order: Order, ctx: Context) -> int:
            await ctx.progress(1)
            return order.number

        async with herd:
            emitted = await placed.emit(Order(number=3))
            status = await emitted.status()
            assert status is not None
            assert status.state == "waiting"
            wait = asyncio.create_task(emitted.result(timeout=DEADLINE))
            await herd.start()
            assert await wait == 3
            assert [update.kind async for update in emitted.updates(after="0-0")] == ["began", "progress", "ended"]
            late = await placed.emit(Order(number=4))
            await run.ended(placed.name, 2)
            assert await late.result(timeout=DEADLINE) == 4


async def metrics_of_node(run: ProductRun) -> None:
    """Counted where a worker of Node's has begun to."""
    herd = run.herd()

    @herd.event("order.counted")
    async def counted(order: Order) -> None: ...

    async with herd:
        queue = (await herd.backend()).queue(counted.declaration)
        begun = ("count", 1, "prevTS", 1, "prevCount", 0)
        await queue.client.call(queue.keys.slot, "HSET", f"{queue.keys.base}metrics:completed", *begun)
        await counted.emit(Order())
        await herd.start()
        await run.ended("order.counted", 1)


async def cancelling(run: ProductRun) -> None:
    """One that waits, one that runs."""
    herd = run.herd()

    @herd.event("order.cancelled")
    async def placed(order: Order) -> None:
        await asyncio.sleep(60)

    async with herd:
        waiting, running = await placed.emit(Order(), delay=60), await placed.emit(Order())
        assert await waiting.cancel("customer called")
        await herd.start()
        await run.records.wait("event.begin", event="order.cancelled")
        assert await running.cancel()
        await run.ended("order.cancelled", 1, "cancelled")


async def administration(run: ProductRun) -> None:
    """Read, looked for, retried, promoted, discarded, cancelled; moved from a queue that no event has."""
    herd, renamed = run.herd(), run.herd()
    old = renamed.declare("admin.renamed", Order)

    @herd.event("admin.placed", retry=Retry(attempts=1))
    async def placed(order: Order, ctx: Context) -> None:
        await ctx.note("looking for stock")
        raise ValueError("no stock")

    async with herd, renamed:
        await placed.emit_many([Order() for _ in range(3)])
        await placed.start()
        await run.ended("admin.placed", 3, "failed")
        await placed.stop()
        admin = herd.admin
        (row,) = await admin.events()
        assert (row.failed, row.recent.failed) == (3, 3)
        assert sum(hour.failed for hour in await admin.history("admin.placed", step="hour")) == 3
        (first, *_) = await admin.find(error="no stock", since=3600).all()
        story = await admin.show(first.id)
        assert story is not None
        assert story.notes == ("looking for stock",)
        assert await admin.show(UUID("00000000-0000-5000-8000-000000000000")) is None
        await admin.effects(first.id)
        assert (await admin.retry(ids=[first.id]).run()).done == 1
        assert (await admin.discard("admin.placed", until=timedelta()).run()).done == 2
        await placed.emit(Order(), delay=60)
        assert (await admin.promote("admin.placed").run()).done == 1
        await old.emit(Order())
        await old.emit(Order(), priority=1)
        await old.emit(Order(), delay=60)
        assert "{admin.renamed}" in {queue.name for queue in await admin.unknown_queues()}
        assert (await admin.move("{admin.renamed}", "admin.placed").run()).done == 3
        assert (await admin.cancel("admin.placed").run()).done == 4
        await admin.record(Audited("me", "dashboard", "cancel", "admin.placed", done=4))
        assert [row.entry.done for row in await admin.audit()] == [4]


async def unique(run: ProductRun) -> None:
    """Of each rule, while one waits, runs and is cancelled; with an id that is known as well."""
    rules = (Unique(until="done"), Unique(until="done", keep_last=True), Unique(within=60), Debounce(wait=0.1))
    herd = run.herd()
    go_on = asyncio.Event()

    async def placed(order: Order) -> None:
        if order.number == 1:
            await go_on.wait()

    async with herd:
        for number, rule in enumerate(rules):
            event = herd.event(f"unique.{number}", unique=rule, key=lambda order: order.customer, once=60)(placed)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
            own = uuid4()
            go_on.clear()
            await event.emit_many([Order(number=1), Order(number=1)])
            late = [await event.emit(Order(customer="b"), priority=priority) for priority in (2, 0)]
            await event.emit(Order(customer="c"), id=own)
            await event.emit(Order(customer="d"), id=own)
            await late[0].cancel()
            await event.start()
            await run.records.wait("event.begin", count=2, event=event.name)
            await event.emit_many([Order(number=2), Order(number=3)])
            go_on.set()
            await run.ended(event.name, 3 if rule.rule.kind in ("last", "debounce") else 2)


async def failures(run: ProductRun) -> None:
    """Told to another event, and sent back once."""
    herd = run.herd()

    @herd.event("order.told")
    async def told(failure: Failure[Order], ctx: Context) -> None:
        if failure.payload.number == 0:
            await failure.send_back()

    @herd.event("order.refused", on_failed=told, retry=Retry(attempts=1))
    async def refused(order: Order, ctx: Context) -> None:
        if ctx.fence == 1:
            raise ValueError

    async with herd:
        await herd.start()
        await refused.emit(Order())
        await run.ended("order.refused", 2)


async def schedules(run: ProductRun) -> None:
    """Set, changed, asked for again, run and removed."""
    herd = run.herd()

    @herd.event("report.write")
    async def report_write(order: Order) -> None: ...

    async with herd:
        await report_write.schedule("changing", Cron("0 0 1 1 *"), Order())
        await report_write.schedule("changing", Every(0.3), Order())
        await report_write.schedule("changing", Every(0.3), Order())
        await report_write.schedule("yearly", Cron("0 0 1 1 *", tz="Europe/Paris"), Order())
        await herd.start()
        await run.ended("report.write", 2)
        await report_write.unschedule("changing")
        await report_write.pause_schedule("yearly")
        await report_write.resume_schedule("yearly")
        assert [info.name for info in await report_write.schedules()] == ["yearly"]
        assert await report_write.unschedule("yearly")


async def schedules_in_code(run: ProductRun) -> None:
    """Stored, made up for after a while without workers, and removed by a version without them."""
    herd, later = run.herd(), run.herd()
    often = {"often": Schedule(Every(0.3), Order(), missed="none")}

    @herd.event("report.kept", schedules=often)
    async def kept(order: Order) -> None: ...

    @later.event("report.kept")
    async def kept_later(order: Order) -> None: ...

    async with herd, later:
        await herd.start()
        await run.ended("report.kept", 1)
        await herd.stop()
        await asyncio.sleep(0.5)
        await herd.start()
        await run.ended("report.kept", 3)
        await later.start()

        async def removed() -> bool:
            return not await kept.schedules()

        await until(removed)


async def shards(run: ProductRun) -> None:
    """Shards with keys, in order, with another number of them than before."""
    for number in (2, 3):
        herd = run.herd()

        @herd.event("order.spread", shards=number, key=lambda order: order.customer, ordered=True)
        async def spread(order: Order) -> None: ...

        @herd.event("order.strict", shards=number, key=lambda order: order.customer, ordered=True, retry=Retry(2, 0.05))
        async def strict(order: Order, ctx: Context) -> None:
            if ctx.attempt == 1:
                raise ConnectionError("try again")

        async with herd:
            await spread.emit(Order(), id=uuid4())
            await spread.emit_many([Order(customer=str(n)) for n in range(9)])
            await strict.emit_many([Order(customer=str(n)) for n in range(3)])
            if number == 3:
                await herd.start()
                await run.ended("order.spread", 20)
                await run.ended("order.strict", 12)


async def limits(run: ProductRun) -> None:
    """Declared, set and ended; an event and its shards that rest; a start that declares other ones."""
    for most in (2, None):
        herd = run.herd()

        @herd.event("order.limited", rate=Rate(5, per=0.2), max_running=most)
        async def limited(order: Order, ctx: Context) -> None:
            if order.number == 1 and ctx.fence == 1:
                raise RateLimited(0.3)

        @herd.event("order.limited.spread", shards=2)
        async def spread(order: Order, ctx: Context) -> None:
            if ctx.fence == 1:
                raise RateLimited(0.05)

        async with herd:
            await herd.start()
            await spread.emit(Order())
            await limited.emit_many([Order(number=n) for n in range(8)])
            await limited.set_limits(rate=Rate(50, per=1), max_running=None)
            assert (await limited.limits()).max_running is None
            await run.ended("order.limited", 16 if most is None else 8, "completed")
            await run.ended("order.limited.spread", 2 if most is None else 1, "completed")


async def limits_by_key(run: ProductRun) -> None:
    """Held back and let go, of all priorities; keyed at the first fetch; a key rests, or is paused; other limits."""
    herd, producer = run.herd(), run.herd()
    free = producer.declare("order.by_key", Order)

    @herd.event("order.by_key", key=lambda order: order.customer, per_key=PerKey(max_running=1, rate=Rate(5, per=0.1)))
    async def placed(order: Order, ctx: Context) -> None:
        if order.number == 1 and ctx.fence == 1:
            raise RateLimited(0.05)

    async with herd, producer:
        await placed.pause(key="a")
        await placed.emit_many([Order(number=n, customer="ab"[n % 2]) for n in range(12)])
        await placed.emit_many([Order(customer="b")] * 2, priority=2)
        await free.emit_many([Order(customer="c")] * 4)
        await free.emit(Order(customer="c"), priority=2)
        await herd.start()
        await run.ended("order.by_key", 13, "completed")
        held = await placed.emit(Order(customer="a"))
        await held.cancel()
        await placed.resume(key="a")
        await placed.set_limits(per_key=PerKey(max_running=2))
        assert (await placed.limits()).per_key == PerKey(max_running=2)
        await run.ended("order.by_key", 19, "completed")


async def pausing(run: ProductRun) -> None:
    """Paused and resumed, with shards, seen by a worker that starts meanwhile; what BullMQ 5 has put aside."""
    herd = run.herd()

    @herd.event("order.halted")
    async def halted(order: Order) -> None: ...

    @herd.event("order.halted.spread", shards=2)
    async def spread(order: Order) -> None: ...

    queue = "bull:{order.halted}"
    async with herd:
        for event in (halted, spread):
            await event.pause()
            emitted = await event.emit_many([Order()] * 3)
            status = await emitted[0].status()
            assert status is not None
            assert status.paused
        with run.place.aside():
            run.place.at(queue, "RENAME", f"{queue}:wait", f"{queue}:paused")
        await herd.start()
        await run.records.wait("worker.paused", queue="{order.halted}")
        await run.records.wait("worker.paused", queue="{order.halted.spread}")
        for _ in range(2):
            await halted.resume()
        await spread.resume()
        await run.ended("order.halted", 3)
        await run.ended("order.halted.spread", 3)


async def stopping(run: ProductRun) -> None:
    """An idle stop, and one that puts back what runs, which another worker begins."""
    begun = asyncio.Event()
    herd = run.herd()

    @herd.event("order.slow")
    async def slow(order: Order, ctx: Context) -> None:
        begun.set()
        if ctx.fence == 1:
            await asyncio.sleep(60)

    async with herd:
        await herd.start()
        await asyncio.sleep(0.2)
        await herd.stop()
        await slow.emit(Order())
        await herd.start()
        await begun.wait()
        await herd.stop(timeout=0)
        await herd.start()
        await run.ended("order.slow", 1, outcome="completed")


async def commands(run: ProductRun) -> None:
    """`oxherd worker` with a handler in a process, killed over an event that another then puts back; what reads."""
    (run.folder / "app.py").write_text(APP)
    herd = run.herd()
    process = herd.declare("app.process", Order)

    @herd.event("app.killed", lock=LOCK)
    async def killed(order: Order) -> None: ...

    async with herd:
        await killed.schedule("yearly", Cron("0 0 1 1 *"), Order())
        await process.emit(Order())
        worker = run.start_worker(url=run.place.url)
        await asyncio.to_thread(worker.wait, "event.end", event="app.process", outcome="completed")
        await killed.emit(Order())
        assert await asyncio.to_thread(worker.exit) == -signal.SIGKILL
        await killed.start()
        await run.ended("app.killed", 1, outcome="completed")
        assert run.records.named("queue.error", source="stalled")
        done = await asyncio.to_thread(cli, run.folder, "check", "app:herd", url=run.place.url)
        assert done.returncode == 0, done
        assert "schedule app.killed yearly" in done.stdout
        for command in ("ls", "find", "schedules", "workers", "doctor"):
            done = await asyncio.to_thread(cli, run.folder, command, "app:herd", url=run.place.url)
            assert not done.stderr.startswith("oxherd:"), done
            assert "refuses" not in done.stdout, done
        await killed.unschedule("yearly")


async def metrics(run: ProductRun) -> None:
    """A scrape, while events wait and are delayed."""
    herd = run.herd()
    hold = asyncio.Event()
    registry = CollectorRegistry()
    Metrics(herd, registry)

    @herd.event("order.seen", concurrency=1)
    async def seen(order: Order) -> None:
        await hold.wait()

    async with herd:
        await seen.emit_many([Order()] * 3)
        await seen.emit(Order(), delay=60)
        await herd.start()
        await run.records.wait("event.begin", event="order.seen")

        async def is_up() -> bool:
            text = await asyncio.to_thread(generate_latest, registry)
            oldest = b'oxherd_oldest_waiting_seconds{event="order.seen"} ' in text
            return b"oxherd_up 1.0" in text and oldest

        # While so much else runs in its loop, a scrape may end before each queue has answered.
        await until(is_up)
        hold.set()
        await run.ended("order.seen", 3)


async def shared(run: ProductRun) -> None:
    """Jobs of another program: with parents, with deduplication ids, under a limit; a marker of BullMQ 4."""
    herd = run.herd()
    held, hold = asyncio.Event(), asyncio.Event()

    @herd.event(foreign.EVENT, concurrency=4)
    async def placed(order: Order) -> None:
        if order.number < 0:
            raise ValueError("never")
        if order.number == 99:
            held.set()
            await hold.wait()

    key = f"bull:{foreign.QUEUE}:wait"
    async with herd, foreign.foreign(run.place.admin_url(key)) as other:
        with run.place.aside():
            count = await other.add_families()
            await other.add_once(1)
            await other.add_once(2)
            await other.limit()
            run.place.at(key, "RPUSH", key, "0:0")
        assert (await (await herd.backend()).queue(placed.declaration).counts())["wait"]
        await herd.start()
        await run.ended(placed.name, count + 2)
        with run.place.aside():
            await other.unlimit()
            await other.add_last(99)
        await held.wait()
        with run.place.aside():
            await other.add_last(3)
        hold.set()
        await run.ended(placed.name, count + 4)


async def lost_answers(run: ProductRun) -> None:
    """Connections that are cut while one event runs and another is waited for: the worker looks what has begun."""
    herd = run.herd()
    hold = asyncio.Event()

    @herd.event("order.cut", concurrency=2)
    async def cut(order: Order) -> None:
        await hold.wait()

    async with herd:
        await herd.start()
        await cut.emit(Order())
        await run.records.wait("event.begin", event="order.cut")
        await until(lambda: run.place.blocked())
        before = run.place.called()["lrange"]
        run.place.all("CLIENT", "KILL", "USER", USER)
        await until(lambda: run.place.called()["lrange"] > before)
        hold.set()
        await run.ended("order.cut", 1)


async def durable(run: ProductRun) -> None:
    """Events that replicas or the disk confirm, of each kind; the mark of an id that makes one event only."""
    herd = run.herd()

    @herd.event("order.durable", durable=True, once=60)
    async def kept(order: Order) -> None: ...

    async with herd:
        own = uuid4()
        await kept.emit(Order(), id=own)
        await kept.emit(Order(), id=own)
        await kept.emit_many([Order(number=n) for n in range(5)])
        await kept.emit(Order(), delay=0.05)
        await kept.emit(Order(), priority=1)
        await kept.start()
        await run.ended("order.durable", 8)


Feature = Callable[[ProductRun], Awaitable[None]]
FEATURES: tuple[Feature, ...] = (
    emitting, outcomes, answers, unique, failures, cancelling, administration, metrics_of_node, schedules,
    schedules_in_code, shards, stopping, commands, metrics, limits, limits_by_key,
)  # fmt: skip
# What disturbs the others, or is disturbed by them.
PARTS_ALONE: tuple[Feature, ...] = (shared, lost_answers, pausing)


async def whole_range(run: ProductRun) -> None:
    """All parts: first those that may run at once."""
    await asyncio.gather(*(part(run) for part in FEATURES))
    for part in PARTS_ALONE:
        await part(run)
