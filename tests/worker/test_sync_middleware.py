"""Sync middleware: what runs around a `def` handler in its own thread, or process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import pytest

from oxherd import CallNext, Context, DeclarationError, Depends, EventFailed, Oxherd, Retry, SyncCallNext
from tests.harness import Records, WorkerProcess, cli

ONCE = Retry(attempts=1)
seen: list[str] = []
tenant: ContextVar[str] = ContextVar("tenant")


@pytest.fixture(autouse=True)
def _empty() -> None:
    seen.clear()


def opened() -> Iterator[str]:
    seen.append(f"opened for {tenant.get()}")
    yield "session"
    seen.append("closed")


def opened_for_nobody() -> str:
    return "session"


async def test_it_is_nested_in_order_around_a_handler_and_its_dependencies_in_their_thread(
    local_herd: Oxherd,
) -> None:
    threads: list[threading.Thread] = []

    @local_herd.sync_middleware
    def outer(ctx: Context, call_next: SyncCallNext) -> object:
        threads.append(threading.current_thread())
        token = tenant.set("acme")
        try:
            return [call_next(ctx), ctx.attempt]
        finally:
            tenant.reset(token)
            seen.append("outer ended")

    @local_herd.sync_middleware
    def inner(ctx: Context, call_next: SyncCallNext) -> object:
        try:
            return call_next(ctx)
        except ValueError:
            seen.append("inner saw it")
            raise

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int, session: Annotated[str, Depends(opened)]) -> Any:
        threads.append(threading.current_thread())
        if number < 0:
            raise ValueError(number)
        return f"{session} of {tenant.get()}"

    async with local_herd:
        await local_herd.start()
        assert await (await placed.emit(1)).result(timeout=20) == ["session of acme", 1]
        assert threads[0] is threads[1] is not threading.current_thread()
        assert seen == ["opened for acme", "closed", "outer ended"]
        seen.clear()
        with pytest.raises(EventFailed, match="ValueError"):
            await (await placed.emit(-1)).result(timeout=20)
        assert seen == ["opened for acme", "inner saw it", "outer ended"]


async def test_it_runs_inside_the_middleware_of_the_loop_and_not_around_an_async_handler(local_herd: Oxherd) -> None:
    @local_herd.middleware
    async def in_loop(ctx: Context, call_next: CallNext) -> object:
        tenant.set("acme")
        return ["loop", await call_next(ctx)]

    @local_herd.sync_middleware
    def in_thread(ctx: Context, call_next: SyncCallNext) -> object:
        return [f"thread of {tenant.get()}", call_next(ctx)]

    @local_herd.event("order.sync")
    def sync(number: int) -> Any:
        return number

    @local_herd.event("order.async")
    async def asynchronous(number: int) -> Any:
        return number

    async with local_herd:
        await local_herd.start()
        assert await (await sync.emit(1)).result(timeout=20) == ["loop", ["thread of acme", 1]]
        assert await (await asynchronous.emit(2)).result(timeout=20) == ["loop", 2]
    assert await sync(3) == sync.call(3) == 3  # a plain call has no middleware


def twice(ctx: Context, call_next: SyncCallNext) -> object:
    return [call_next(ctx), call_next(ctx)]


def with_another(ctx: Context, call_next: SyncCallNext) -> object:
    return call_next(copy(ctx))


@pytest.mark.parametrize(
    ("broken", "sentence"), [(twice, "called call_next again"), (with_another, "passed on another Context")]
)
async def test_it_calls_the_handler_once_and_with_its_own_context(
    local_herd: Oxherd, broken: Callable[..., Any], sentence: str
) -> None:
    local_herd.sync_middleware(broken)

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int) -> None:
        seen.append("ran")

    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed, match=sentence):
            await (await placed.emit(1)).result(timeout=20)
    assert len(seen) <= 1


def plain(ctx: Context, call_next: SyncCallNext) -> object:
    return call_next(ctx)


async def test_a_def_that_returns_an_awaitable_is_refused_since_it_would_run_outside(local_herd: Oxherd) -> None:
    local_herd.sync_middleware(plain)

    async def later() -> None:
        seen.append("ran")

    @local_herd.event("order.placed", retry=ONCE)
    def placed(number: int) -> Any:
        return later()

    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed, match="returned an awaitable; make it an async def"):
            await (await placed.emit(1)).result(timeout=20)
    assert seen == []


async def asynchronous(ctx: Context, call_next: SyncCallNext) -> object:
    return call_next(ctx)


def alone(ctx: Context) -> object:
    return None


def test_what_cannot_be_one_is_refused(local_herd: Oxherd) -> None:
    with pytest.raises(DeclarationError, match=r"make it a def, or declare it by herd\.middleware"):
        local_herd.sync_middleware(asynchronous)
    with pytest.raises(DeclarationError, match="takes a function of a Context and call_next"):
        local_herd.sync_middleware(alone)  # pyright: ignore[reportArgumentType]


APP = """
import json, os, threading
from pathlib import Path
from oxherd import Context, Oxherd, SyncCallNext

herd = Oxherd()

@herd.sync_middleware
def around(ctx: Context, call_next: SyncCallNext) -> object:
    returned = [os.getpid(), threading.current_thread() is threading.main_thread(), call_next(ctx)]
    Path("returned").write_text(json.dumps(returned))
    return returned

@herd.event("order.work", run_in="process")
def work(number: int) -> object:
    return [os.getpid(), number]
"""


def test_in_a_process_it_runs_in_the_thread_of_the_handler(
    tmp_path: Path, start_worker: Callable[..., WorkerProcess], standalone: str
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("Oxherd()", f"Oxherd(prefix={tmp_path.name!r})"))
    worker = start_worker(url=standalone)
    assert cli(tmp_path, "emit", "app:herd", "order.work", "7", url=standalone).returncode == 0
    worker.wait("event.end", outcome="completed")
    assert worker.stop() == 0
    around, in_main_thread, [handler, number] = json.loads((tmp_path / "returned").read_text())
    assert (around, in_main_thread, number) == (handler, True, 7)
    assert handler != worker.process.pid


@pytest.mark.parametrize("as_async", [False, True])
async def test_the_stack_of_an_error_has_the_users_frames_alone(
    local_herd: Oxherd, records: Records, as_async: bool
) -> None:
    @local_herd.middleware
    async def outer(ctx: Context, call_next: CallNext) -> object:
        return await call_next(ctx)

    @local_herd.sync_middleware
    def inner(ctx: Context, call_next: SyncCallNext) -> object:
        return call_next(ctx)

    def fails(number: int, session: Annotated[str, Depends(opened_for_nobody)]) -> None:
        raise ValueError("no such order")

    async def fails_in_the_loop(number: int, session: Annotated[str, Depends(opened_for_nobody)]) -> None:
        raise ValueError("no such order")

    placed = local_herd.event("order.placed", retry=ONCE)(fails_in_the_loop if as_async else fails)
    async with local_herd:
        await local_herd.start()
        await placed.emit(1)
        (end,) = await records.wait("event.end")
    passed = ["outer", "fails_in_the_loop"] if as_async else ["outer", "inner", "fails"]
    assert [frame.split()[-1] for frame in end.error["stack"]] == passed
