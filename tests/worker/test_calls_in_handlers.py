"""Calls that would wait for the handler that makes them, or block the loop that they need: refused at once."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from oxherd import Context, Event, Oxherd, UsageError
from tests.harness import Records


class Caller:
    """An event whose handler calls what it must not."""

    def __init__(self, herd: Oxherd) -> None:
        self.herd = herd
        self.event: Event[int, Any]

    async def stop(self, _: Context) -> None:
        await self.herd.stop()

    async def stop_event(self, _: Context) -> None:
        await self.event.stop()

    async def close(self, _: Context) -> None:
        await self.herd.close()

    async def in_a_task(self, _: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.herd.stop())

    async def in_a_thread(self, _: Context) -> None:
        await asyncio.to_thread(lambda: asyncio.run(self.herd.stop(timeout=1)))

    async def run(self, _: Context) -> None:
        self.herd.run()

    async def run_in_a_thread(self, _: Context) -> None:
        await asyncio.to_thread(self.herd.run)

    async def progress_sync(self, ctx: Context) -> None:
        ctx.progress_sync(1)

    async def progress_sync_in_a_task(self, ctx: Context) -> None:
        async def report() -> None:
            ctx.progress_sync(1)

        await asyncio.create_task(report())

    async def emit_sync(self, _: Context) -> None:
        self.event.emit_sync(2)

    async def emit_many_sync(self, _: Context) -> None:
        self.event.emit_many_sync([2])

    def progress_in_another_loop(self, ctx: Context) -> None:
        asyncio.run(ctx.progress(1))

    def stop_of_a_thread(self, _: Context) -> None:
        asyncio.run(self.herd.stop())

    def stop_event_of_a_thread(self, _: Context) -> None:
        asyncio.run(self.event.stop())


REFUSED: list[tuple[Callable[..., Any], str]] = [
    (Caller.stop, "herd.stop() inside the handler of order.placed would wait for that handler"),
    (Caller.stop_event, "event.stop() inside the handler of order.placed would wait for that handler"),
    (Caller.close, "herd.close() inside the handler of order.placed would wait for that handler"),
    (Caller.in_a_task, "herd.stop() inside the handler of order.placed"),
    (Caller.in_a_thread, "herd.stop() inside the handler of order.placed"),
    (Caller.stop_of_a_thread, "herd.stop() inside the handler of order.placed"),
    (Caller.stop_event_of_a_thread, "event.stop() inside the handler of order.placed"),
    (Caller.run, "herd.run() inside the handler of order.placed"),
    (Caller.run_in_a_thread, "herd.run() inside the handler of order.placed"),
    (Caller.progress_sync, "progress_sync would block the event loop for ever; await ctx.progress(...)"),
    (Caller.progress_sync_in_a_task, "progress_sync would block the event loop for ever; await ctx.progress(...)"),
    (Caller.progress_in_another_loop, "ctx.progress belongs to the worker's event loop"),
    (Caller.emit_sync, "emit_sync would block the event loop that runs in this thread; await emit(...)"),
    (Caller.emit_many_sync, "emit_many_sync would block the event loop that runs in this thread; await emit_many(...)"),
]


@pytest.mark.parametrize(("calls", "why"), REFUSED, ids=[calls.__name__ for calls, _ in REFUSED])
async def test_what_would_wait_for_itself_in_a_handler_is_refused_at_once(
    calls: Callable[..., Any], why: str, local_herd: Oxherd, records: Records
) -> None:
    caller = Caller(local_herd)
    refused: list[Any] = []

    def note(error: Any) -> None:
        refused.append(getattr(error, "exceptions", [error])[0])

    async def handler(_: int, ctx: Context) -> None:
        try:
            await calls(caller, ctx)
        except BaseException as error:  # noqa: BLE001 - looked at below
            note(error)

    def thread_handler(_: int, ctx: Context) -> None:
        try:
            calls(caller, ctx)
        except BaseException as error:  # noqa: BLE001
            note(error)

    function = handler if inspect.iscoroutinefunction(calls) else thread_handler
    caller.event = local_herd.event("order.placed")(function)  # pyright: ignore[reportArgumentType, reportCallIssue]
    async with local_herd:
        await caller.event.emit(1)
        await local_herd.start()
        await records.wait("event.end", outcome="completed", deadline=5)
        assert local_herd.health().events == ["order.placed"]
    (error,) = refused
    assert isinstance(error, UsageError)
    assert re.match(re.escape(why), str(error))


async def test_a_handler_may_stop_another_event_and_a_task_that_outlives_it_all(
    local_herd: Oxherd, records: Records
) -> None:
    stops: list[asyncio.Task[Any]] = []
    ended = asyncio.Event()

    @local_herd.event("other")
    async def other(_: int) -> None: ...

    async def stop_later() -> None:
        await ended.wait()
        await local_herd.stop()

    @local_herd.event("order.placed")
    async def order_placed(_: int) -> None:
        await other.stop()
        stops.append(asyncio.create_task(stop_later()))

    await order_placed.emit(1)
    await local_herd.start()
    await records.wait("event.end", outcome="completed")
    assert local_herd.health().events == ["order.placed"]
    ended.set()
    await stops[0]
    assert local_herd.health().events == []


async def test_sync_calls_and_run_are_refused_in_an_event_loop(local_herd: Oxherd) -> None:
    event: Event[int, Any] = local_herd.declare("order.placed", int)
    for call in (lambda: event.emit_sync(1), lambda: event.emit_many_sync([1]), local_herd.run):
        with pytest.raises(UsageError, match="await"):
            call()
    with pytest.raises(UsageError, match="main thread"):
        await asyncio.to_thread(local_herd.run)


@pytest.mark.parametrize("outside", [False, True], ids=["in a block", "outside any block"])
async def test_a_block_within_another_or_in_a_handler_stops_nothing(
    outside: bool, local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        async with local_herd:
            if number < 3:
                await order_placed.emit(number + 1)

    async def request() -> None:
        async with local_herd:
            await order_placed.emit(1)

    async with contextlib.AsyncExitStack() as stack:
        if outside:
            stack.push_async_callback(local_herd.stop)
        else:
            await stack.enter_async_context(local_herd)
        await local_herd.start()
        await request()
        await records.wait("event.end", 3, outcome="completed", deadline=5)
        assert local_herd.health().events == ["order.placed"]
    assert local_herd.processing == []


async def test_a_close_stops_what_is_processed(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    async def order_placed(_: int) -> None:
        await asyncio.sleep(0.2)

    await order_placed.emit(1)
    await local_herd.start()
    await records.wait("event.begin", deadline=5)
    await local_herd.close()
    assert [record.__dict__["outcome"] for record in records.all if record.msg == "event.end"] == ["completed"]
    assert local_herd.processing == []
