"""What becomes of the events that run when their loop ends without a stop, or when the stop is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from oxherd import Context, Event, Oxherd, Retry
from oxherd.servers.standalone import StandaloneServer
from tests.harness import Records, until

ONCE = Retry(attempts=1)


class Held:
    """Events that run when their loop ends: in the loop, in a thread, and waiting for their turn on a shared queue."""

    def __init__(self, herd: Oxherd) -> None:
        self.herd = herd
        self.reasons: list[Any] = []
        self.deaf = threading.Event()
        self.events: list[Event[int, Any]] = [
            herd.event("loop", concurrency=2, retry=ONCE)(self._in_loop),
            herd.event("thread", concurrency=2, retry=ONCE)(self._in_thread),
            herd.event("deaf", concurrency=1, retry=ONCE)(self._deaf),
            herd.event("shared.a", queue="{shared}", concurrency=1, retry=ONCE)(self._in_loop),
            herd.event("shared.b", queue="{shared}", concurrency=1, retry=ONCE)(self._in_loop),
        ]

    async def _in_loop(self, _: int, ctx: Context) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.reasons.append(str(ctx.cancelled))
            raise

    def _in_thread(self, _: int, ctx: Context) -> None:
        while ctx.cancelled is None:
            time.sleep(0.005)
        raise RuntimeError("told to stop")

    def _deaf(self, _: int) -> None:
        self.deaf.wait()

    async def begin(self, records: Records) -> None:
        """Emit three of each, start, and return once as many run as may."""
        for event in self.events:
            await event.emit_many([1, 2, 3])
        await self.herd.start()
        await records.wait("event.begin", count=7)

    async def assert_all_wait(self, records: Records) -> None:
        """None of them has failed, has spent an attempt, or is left active."""
        async with self.herd:
            backend = await self.herd.backend()
            for event in self.events:
                counts = await backend.queue(event.declaration).counts()
                left = 6 if event.name.startswith("shared") else 3
                assert (counts["wait"] + counts["delayed"], counts["active"], counts["failed"]) == (left, 0, 0)
        ends = records.named("event.end")
        assert [vars(end)["outcome"] for end in ends] == ["requeued"] * 7
        assert len(records.named("worker.stop")) == 1
        assert not records.named("redis.error")
        assert not records.named("queue.error")
        assert set(self.reasons) == {"the worker is stopping"}


@pytest.fixture
def held(local_herd: Oxherd) -> Iterator[Held]:
    held = Held(local_herd)
    yield held
    held.deaf.set()


async def forever(held: Held, records: Records) -> None:
    await held.begin(records)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()


async def returns(held: Held, records: Records) -> None:
    await held.begin(records)


async def raises(held: Held, records: Records) -> None:
    await held.begin(records)
    raise KeyboardInterrupt


async def cancelled_in_its_stop(held: Held, records: Records) -> None:
    async def serve() -> None:
        async with held.herd:
            await held.begin(records)
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await records.wait("event.begin", count=7)
    serving.cancel()
    await until(lambda: held.herd.health().stopping)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("oxherd")]


async def cancelled_while_its_stop_waits(held: Held, records: Records) -> None:
    async with held.herd:
        await held.begin(records)
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        await held.herd.stop()


async def twice_in_a_scope(held: Held, records: Records) -> None:
    with anyio.CancelScope() as scope:  # which cancels again at each await
        async with held.herd:
            await held.begin(records)
            scope.cancel()
            await asyncio.sleep(600)


async def limited(held: Held, records: Records) -> None:
    await held.begin(records)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(held.herd.stop(), 0.1)


async def by_hand(held: Held, records: Records) -> None:
    await held.begin(records)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize(
    "main",
    [
        forever, returns, raises, cancelled_in_its_stop, cancelled_while_its_stop_waits, twice_in_a_scope, limited,
        by_hand,
    ],
)  # fmt: skip
def test_what_runs_when_its_loop_ends_is_put_back_at_once_and_costs_no_attempt(
    main: Callable[[Held, Records], Awaitable[None]], held: Held, records: Records
) -> None:
    async def run() -> None:
        await main(held, records)

    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
    assert time.monotonic() - began < 5  # of which a second is for a handler that does not end
    asyncio.run(held.assert_all_wait(records))


def test_an_outcome_that_is_known_when_its_loop_ends_is_written(local_herd: Oxherd, records: Records) -> None:
    done: list[int] = []

    @local_herd.event("order.placed", concurrency=50)
    async def order_placed(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    async def main() -> None:
        await order_placed.emit_many(range(3000))
        await local_herd.start()
        await until(lambda: len(done) > 300, every=0)

    async def rest() -> None:
        async with local_herd:
            counts = await (await local_herd.backend()).queue(order_placed.declaration).counts()
            assert (counts["wait"], counts["active"], counts["failed"]) == (3000 - len(done), 0, 0)

    asyncio.run(main())
    asyncio.run(rest())
    assert len(done) == len(set(done)) == len(records.named("event.end", outcome="completed"))


@pytest.mark.parametrize("hung", [True, False])
def test_a_loop_ends_within_seconds_where_redis_does_not_answer(
    hung: bool, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    with StandaloneServer() as server:
        held = Held(make_herd(server.url))

        async def main() -> None:
            await held.begin(records)
            if hung:
                server.pause()
            else:
                server.kill()

        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < 6
        held.deaf.set()
        if hung:
            server.resume()
    assert len(records.named("event.end", outcome="lost")) == 7
