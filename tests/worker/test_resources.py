"""Lifespans, dependencies and middleware in a worker, on real servers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest

from oxherd import CallNext, Context, DeclarationError, Depends, EventFailed, LifespanError, Oxherd, Retry, UsageError
from tests.harness import Records

ONCE = Retry(attempts=1)
log: list[str] = []
tenant: ContextVar[str] = ContextVar("tenant")


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


async def get_pool() -> AsyncIterator[str]:
    log.append("open")
    try:
        yield "pool"
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        log.append("close")


def get_session(pool: Annotated[str, Depends(get_pool)]) -> Iterator[threading.Thread]:
    try:
        yield threading.current_thread()
    except BaseException as error:
        log.append(f"session {type(error).__name__}")
        raise


Session = Annotated[threading.Thread, Depends(get_session)]


async def in_loop(number: int, session: Session) -> Any:
    return _work(number, session)


def in_thread(number: int, ctx: Context, session: Session) -> Any:
    return _work(number, session)


def _work(number: int, session: threading.Thread) -> bool:
    if number < 0:
        raise ValueError(number)
    log.append("handler")
    return session is threading.current_thread()


BOTH = pytest.mark.parametrize("handler", [in_loop, in_thread])


@BOTH
async def test_a_run_has_its_dependencies_where_its_handler_runs(herd: Oxherd, handler: Callable[..., Any]) -> None:
    event = herd.event("order.placed", retry=ONCE)(handler)
    async with herd:
        await herd.start()
        assert await (await event.emit(1)).result(timeout=20) is True
        assert log == ["open", "handler", "close"]
        log.clear()
        with pytest.raises(EventFailed, match="ValueError"):
            await (await event.emit(-1)).result(timeout=20)
    assert log == ["open", "session ValueError", "ValueError", "close"]


async def test_a_dependency_that_fails_is_the_runs_error_and_is_tried_again(
    local_herd: Oxherd, records: Records
) -> None:
    tries: list[int] = []

    def flaky(ctx: Context) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise OSError("no mail server")
        return ctx.attempt

    async def handler(number: int, value: int) -> int:
        return value

    handler.__annotations__["value"] = Annotated[int, Depends(flaky)]
    event = local_herd.event("order.placed", retry=Retry(attempts=2, delay=0.01))(handler)
    async with local_herd:
        await local_herd.start()
        assert await (await event.emit(1)).result(timeout=20) == 2
    assert tries == [1, 2]
    (end,) = records.named("event.end", outcome="retrying")
    assert vars(end)["error"]["type"] == "OSError"


def slow(ctx: Context) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        log.append(f"{type(error).__name__} {type(ctx.cancelled).__name__}")
        raise


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_a_timeout_covers_dependencies_and_they_are_closed(local_herd: Oxherd) -> None:
    @local_herd.event("order.placed", timeout=0.1, retry=ONCE)
    async def placed(
        number: int, one: Annotated[None, Depends(slow)], other: Annotated[None, Depends(hangs)]
    ) -> None: ...

    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed, match="TimedOut"):
            await (await placed.emit(1)).result(timeout=20)
    assert log == ["CancelledError TimedOut"]


async def test_an_override_holds_for_what_a_worker_begins(local_herd: Oxherd) -> None:
    event: Any = local_herd.event("order.placed")(in_thread)
    with local_herd.override(get_session, threading.current_thread):
        async with local_herd:
            await local_herd.start()
            assert await (await event.emit(1)).result(timeout=20) is True
    assert log == ["handler"]


# -- lifespans


def two_lifespans(herd: Oxherd) -> Any:
    @herd.worker_lifespan
    async def pool(given: Oxherd) -> AsyncIterator[str]:
        assert given is herd
        log.append("open pool")
        yield "pool"
        log.append("close pool")
        raise OSError("the server has gone")

    @herd.worker_lifespan
    async def cache(given: Oxherd) -> AsyncIterator[None]:
        log.append("open cache")
        try:
            yield
        finally:
            log.append("close cache")

    async def handler(number: int, value: str) -> str:
        log.append("handler")
        return value

    handler.__annotations__["value"] = Annotated[str, Depends(pool)]
    return pool, herd.event("order.placed", retry=ONCE)(handler)


async def test_lifespans_open_before_the_first_event_and_close_after_the_last(herd: Oxherd, records: Records) -> None:
    _, event = two_lifespans(herd)

    @herd.event("order.shipped")
    def shipped(number: int) -> None: ...

    async with herd:
        emitted = await event.emit(1)
        await shipped.start()
        await event.start()
        assert await emitted.result(timeout=20) == "pool"
        await shipped.stop()
        assert log == ["open pool", "open cache", "handler"]
        await herd.stop()
        assert log == ["open pool", "open cache", "handler", "close cache", "close pool"]
        (failed,) = [each.getMessage() for each in records.all if "failed to close" in each.getMessage()]
        assert re.fullmatch(r"the worker lifespan pool failed to close \(\w+ at test_resources.py:\d+ pool\)", failed)
        await event.start()
        assert log[-2:] == ["open pool", "open cache"]
    assert log[-2:] == ["close cache", "close pool"]


async def test_what_runs_at_a_stop_ends_before_the_lifespans_close(local_herd: Oxherd) -> None:
    two_lifespans(local_herd)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @local_herd.event("slow")
    async def slow_event(number: int) -> None:
        begun.set()
        await go_on.wait()
        log.append("slow ended")

    async with local_herd:
        await local_herd.start()
        await slow_event.emit(1)
        await begun.wait()
        stops = [asyncio.create_task(event.stop()) for event in local_herd]
        await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        await asyncio.gather(*stops)
    assert log == ["open pool", "open cache", "slow ended", "close cache", "close pool"]


async def test_a_lifespan_that_fails_to_open_keeps_the_worker_from_beginning(local_herd: Oxherd) -> None:
    two_lifespans(local_herd)

    @local_herd.worker_lifespan
    async def mail(herd: Oxherd) -> AsyncIterator[None]:
        if log.count("open cache") == 1:
            raise ConnectionError("no mail server at smtp://app:hunter2@mail")
        yield

    async with local_herd:
        with pytest.raises(
            LifespanError, match=r"lifespan mail failed to open \(ConnectionError at test_resources.py:\d+ mail\)"
        ) as e:
            await local_herd.start()
        assert "hunter2" not in str(e.value)
        assert isinstance(e.value.__cause__, ConnectionError)
        assert local_herd.processing == []
        assert log == ["open pool", "open cache", "close cache", "close pool"]
        await local_herd.start()
        assert local_herd.processing == ["order.placed"]


def test_a_loop_that_ends_without_a_stop_closes_them_after_its_handlers(make_herd: Any, standalone: str) -> None:
    herd = make_herd(standalone)
    two_lifespans(herd)

    @herd.event("slow")
    async def slow_event(number: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("slow ended")

    begun = asyncio.Event()

    async def main() -> None:
        await herd.start()
        await slow_event.emit(1)
        await begun.wait()

    asyncio.run(main())
    assert log == ["open pool", "open cache", "slow ended", "close cache", "close pool"]


async def test_outside_a_worker_a_lifespan_is_not_open_and_can_be_overridden(local_herd: Oxherd) -> None:
    pool, event = two_lifespans(local_herd)
    with pytest.raises(UsageError, match="The worker lifespan pool is not open here; start its herd, or in a test"):
        await event(1)
    with local_herd.override(pool, lambda: "fake"):
        assert await event(1) == "fake"
    assert await event(1, value="given") == "given"


@pytest.mark.parametrize("declare", ["worker_lifespan", "middleware"])
def test_what_cannot_be_one_is_refused(local_herd: Oxherd, declare: str) -> None:
    async def nothing() -> None: ...

    async def generator() -> AsyncIterator[None]:
        yield

    wrongs: list[Any] = [nothing, generator, len, 5]
    for wrong in wrongs:
        with pytest.raises(DeclarationError, match=f"^{declare} takes an async .*"):
            getattr(local_herd, declare)(wrong)


# -- middleware


@pytest.mark.parametrize("handler", [in_loop, in_thread])
async def test_middleware_is_nested_in_order_and_sees_the_very_result_and_error(
    herd: Oxherd, handler: Callable[..., Any], records: Records
) -> None:
    @herd.middleware
    async def outer(ctx: Context, call_next: CallNext) -> object:
        log.append(f"outer {ctx.event}")
        try:
            return [await call_next(ctx)]
        except ValueError as error:
            log.append(f"outer {error}")
            raise KeyError("another") from error

    @herd.middleware
    async def inner(ctx: Context, call_next: CallNext) -> object:
        log.append("inner")
        return {"result": await call_next(ctx)}

    event = herd.event("order.placed", retry=ONCE)(handler)
    async with herd:
        await herd.start()
        assert await (await event.emit(1)).result(timeout=20) == [{"result": True}]
        assert log == ["outer order.placed", "inner", "open", "handler", "close"]
        log.clear()
        emitted = await event.emit(-1)
        with pytest.raises(EventFailed, match="KeyError"):
            await emitted.result(timeout=20)
    assert log == ["outer order.placed", "inner", "open", "session ValueError", "ValueError", "close", "outer -1"]
    (end,) = records.named("event.end", outcome="failed")
    assert vars(end)["error"]["type"] == "KeyError"


async def test_middleware_binds_contextvars_and_may_answer_by_itself(local_herd: Oxherd) -> None:
    @local_herd.middleware
    async def bind(ctx: Context, call_next: CallNext) -> object:
        tenant.set(ctx.event)
        return "skipped" if ctx.event == "skip" else await call_next(ctx)

    @local_herd.event("a")
    async def one(number: int) -> str:
        return tenant.get()

    @local_herd.event("b")
    def other(number: int) -> str:
        return tenant.get()

    @local_herd.event("skip")
    def never(number: int) -> str:
        raise AssertionError

    async with local_herd:
        await local_herd.start()
        emitted = [await event.emit(1) for event in (one, other, never)]
        assert [await each.result(timeout=20) for each in emitted] == ["a", "b", "skipped"]


async def test_a_timeout_covers_middleware(local_herd: Oxherd) -> None:
    @local_herd.middleware
    async def slow_middleware(ctx: Context, call_next: CallNext) -> object:
        await call_next(ctx)
        await asyncio.Event().wait()
        return None

    @local_herd.event("a", timeout=0.1, retry=ONCE)
    async def quick(number: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed, match="TimedOut"):
            await (await quick.emit(1)).result(timeout=20)


async def test_middleware_calls_the_handler_once_and_with_its_own_context(local_herd: Oxherd) -> None:
    @local_herd.middleware
    async def wrong(ctx: Context, call_next: CallNext) -> object:
        if ctx.event == "twice":
            await call_next(ctx)
            return await call_next(ctx)
        return await call_next(Context(event_id=ctx.event_id, event="b", emitted_ms=0))

    runs: list[int] = []
    for name in ("twice", "other"):
        local_herd.event(name, retry=ONCE)(_counting(runs))
    async with local_herd:
        await local_herd.start()
        with pytest.raises(EventFailed, match=r"UsageError.*one run is one call"):
            await (await local_herd["twice"].emit(1)).result(timeout=20)
        with pytest.raises(EventFailed, match=r"UsageError.*pass the one that it was given"):
            await (await local_herd["other"].emit(1)).result(timeout=20)
    assert runs == [1]


def _counting(runs: list[int]) -> Any:
    async def handler(number: int) -> None:
        runs.append(number)

    return handler
