"""How a run may end: whatever a handler raises, returns or does to its own task, its event has one end, and the next
one begins at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, model_serializer

from oxherd import Context, Discard, Keep, Oxherd, Retry, StopReport
from tests.harness import Records

LONGER = 60  # seconds: by then the test has failed


class OwnError(BaseException):
    pass


BASE_ERRORS = [KeyboardInterrupt, SystemExit, GeneratorExit, OwnError, StopIteration, StopAsyncIteration]


def raising(error: type[BaseException]) -> None:
    raise error("on purpose")


def task() -> asyncio.Task[Any]:
    current = asyncio.current_task()
    assert current is not None
    return current


async def run_one(herd: Oxherd, records: Records, function: Callable[..., Any], **options: Any) -> Any:
    """Run an event, and one behind it, fetched with its outcome; returns how the first has ended."""

    async def either(which: int) -> Any:
        if which == 1:
            return await function()
        return None

    def either_in_thread(which: int) -> Any:
        return function() if which == 1 else None

    handler = either if inspect.iscoroutinefunction(function) else either_in_thread
    event = herd.event("ended", concurrency=1, retry=Retry(attempts=1), lock=LONGER, **options)(handler)
    async with herd:
        first = await event.emit(1)
        second = await event.emit(2)
        await herd.start()
        (end,) = await records.wait("event.end", event_id=first.id)
        await records.wait("event.end", event_id=second.id, outcome="completed", deadline=10)
        return end


@pytest.mark.parametrize("error", BASE_ERRORS)
async def test_whatever_a_thread_raises_fails_its_event_and_nothing_else(
    local_herd: Oxherd, records: Records, error: type[BaseException]
) -> None:
    end = await run_one(local_herd, records, functools.partial(raising, error))
    assert (end.outcome, end.error["type"], end.error["message"]) == ("failed", error.__name__, "on purpose")
    assert end.error["stack"][-1].endswith(" raising")


@pytest.mark.parametrize("error", BASE_ERRORS)
async def test_whatever_a_coroutine_raises_fails_its_event_and_nothing_else(
    local_herd: Oxherd, records: Records, error: type[BaseException]
) -> None:
    async def raises() -> None:
        raising(error)

    end = await run_one(local_herd, records, raises)
    # A coroutine cannot raise StopIteration: Python makes another error of it.
    expected = "RuntimeError" if error is StopIteration else error.__name__
    assert (end.outcome, end.error["type"]) == ("failed", expected)


@pytest.mark.parametrize("error", [GeneratorExit, OwnError, StopAsyncIteration])
async def test_what_a_task_raises_that_a_handler_awaits_fails_its_event(
    local_herd: Oxherd, records: Records, error: type[BaseException]
) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        raising(error)

    async def awaits() -> None:
        await asyncio.create_task(child())

    end = await run_one(local_herd, records, awaits)
    assert (end.outcome, end.error["type"]) == ("failed", error.__name__)


@pytest.mark.parametrize("error", BASE_ERRORS)
async def test_whatever_a_sanitiser_raises_withholds_the_payload_and_the_event_runs(
    local_herd: Oxherd, records: Records, error: type[BaseException]
) -> None:
    async def returns() -> None: ...

    def sanitize(_: int) -> None:
        raising(error)

    end = await run_one(local_herd, records, returns, sanitize=sanitize)
    assert end.outcome == "completed"
    (fault, _) = records.named("queue.error", source="sanitize")
    assert fault.__dict__["error"]["type"] == error.__name__


# -- a handler that cancels itself


async def cancels_and_returns() -> str:
    task().cancel()
    return "done"


async def cancels_twice_and_takes_one_back() -> None:
    task().cancel()
    task().cancel()
    task().uncancel()


async def cancels_and_waits() -> None:
    task().cancel()
    await asyncio.sleep(LONGER)


async def cancels_and_raises() -> None:
    task().cancel()
    raise ValueError("another")


async def is_cancelled_by_a_child() -> None:
    own = task()

    async def cancel() -> None:
        own.cancel()

    child = asyncio.create_task(cancel())
    await asyncio.sleep(LONGER)
    await child


async def awaits_what_was_cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def cancels_and_takes_it_back() -> None:
    task().cancel()
    task().uncancel()


async def cancels_and_swallows_it() -> None:
    task().cancel()
    try:
        await asyncio.sleep(LONGER)
    except asyncio.CancelledError:
        return


async def leaves_a_timeout_open_that_is_over() -> None:
    await asyncio.timeout(0).__aenter__()


async def leaves_a_timeout_open_and_swallows_its_end() -> None:
    await asyncio.timeout(0.01).__aenter__()
    try:
        await asyncio.sleep(LONGER)
    except asyncio.CancelledError:
        return


async def leaves_many_timers() -> None:
    for number in range(20):
        asyncio.get_running_loop().call_later(number * 0.0003, task().cancel)


async def leaves_a_callback() -> None:
    asyncio.get_running_loop().call_soon(task().cancel)


@pytest.mark.parametrize(
    ("handler", "outcome", "error"),
    [
        (cancels_and_returns, "failed", "CancelledError"),
        (cancels_twice_and_takes_one_back, "failed", "CancelledError"),
        (cancels_and_waits, "failed", "CancelledError"),
        (cancels_and_raises, "failed", "ValueError"),
        (is_cancelled_by_a_child, "failed", "CancelledError"),
        (awaits_what_was_cancelled, "failed", "CancelledError"),
        (cancels_and_takes_it_back, "completed", None),
        (cancels_and_swallows_it, "completed", None),
        (leaves_a_timeout_open_that_is_over, "completed", None),
        (leaves_a_timeout_open_and_swallows_its_end, "completed", None),
        (leaves_many_timers, "completed", None),
        (leaves_a_callback, "completed", None),
    ],
)
async def test_what_a_handler_does_to_its_own_task_ends_with_it(
    local_herd: Oxherd,
    records: Records,
    handler: Callable[[], Coroutine[Any, Any, Any]],
    outcome: str,
    error: str | None,
) -> None:
    end = await run_one(local_herd, records, handler)
    assert (end.outcome, getattr(end, "error", {}).get("type")) == (outcome, error)


# -- groups


async def in_a_group(*errors: type[BaseException]) -> None:
    async def member(error: type[BaseException]) -> None:
        raising(error)

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(member(error))


def nested() -> None:
    raise ExceptionGroup("outer", [ValueError(), ExceptionGroup("inner", [Discard("of no use")])])


def without_discard() -> None:
    raise ExceptionGroup("outer", [ValueError(), TypeError()])


async def discards_in_a_group() -> None:
    await in_a_group(Discard)


async def discards_and_raises_in_a_group() -> None:
    await in_a_group(ValueError, Discard)


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (discards_in_a_group, "discarded"),
        (discards_and_raises_in_a_group, "discarded"),
        (nested, "discarded"),
        (without_discard, "failed"),
    ],
)
async def test_one_discard_in_a_group_discards_the_event(
    local_herd: Oxherd, records: Records, handler: Callable[[], Any], outcome: str
) -> None:
    assert (await run_one(local_herd, records, handler)).outcome == outcome


# -- results


class Unspeakable:
    def __repr__(self) -> str:
        raise LookupError("on purpose")

    __str__ = __hash__ = __repr__  # pyright: ignore[reportAssignmentType]

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise LookupError("on purpose")


class Refuses(BaseModel):
    @model_serializer
    def refuse(self) -> Any:
        raise SystemExit("on purpose")


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(5_000):
        found = [found]
    return found


NO_JSON = {
    "object": object(),
    "bytes": b"\xff",
    "surrogate": "\ud800",
    "cyclic": cyclic(),
    "deep": deep(),
    "own": Refuses(),
    "unspeakable": Unspeakable(),
    "one of many": [1, 2, Unspeakable()],
    "key": {"a\ud800": 1},
}
JSON: dict[str, tuple[Any, str]] = {
    "set": ({1}, "[1]"),
    "bytes": (b"ab", '"ab"'),
    "NaN": ([float("nan"), float("inf")], "[null,null]"),
    "integer": (10**5_000, "1" + "0" * 5_000),
    "None": (None, "null"),
    "zero": (0, "0"),
    "emoji": ("\U0001f600", '"\U0001f600"'),
    "decimal": ({"sum": Decimal("1.50")}, '{"sum":"1.50"}'),
}


async def stored_result(herd: Oxherd, records: Records, value: Any, *, in_thread: bool, **options: Any) -> str:
    async def returns(_: int) -> Any:
        return value

    def returns_in_thread(_: int) -> Any:
        return value

    event = herd.event("returned", keep=Keep(completed=10), **options)(returns_in_thread if in_thread else returns)
    async with herd:
        emitted = await event.emit(1)
        await herd.start()
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
        backend = await herd.backend()
        keys = backend.queue(event.declaration).keys
        return (await backend.client.call(keys.slot, "HGET", keys.job(str(emitted.id)), "returnvalue")).decode()


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("name", NO_JSON)
async def test_an_event_whose_result_is_no_json_is_completed_without_it_and_with_a_warning(
    local_herd: Oxherd, records: Records, name: str, in_thread: bool
) -> None:
    assert await stored_result(local_herd, records, NO_JSON[name], in_thread=in_thread) == "null"
    (dropped,) = records.named("result.dropped", event="returned", attempt=1)
    assert dropped.levelname == "WARNING"
    assert type(NO_JSON[name]).__name__ in dropped.__dict__["error"]["message"]


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("name", JSON)
async def test_a_result_is_stored_as_json(local_herd: Oxherd, records: Records, name: str, in_thread: bool) -> None:
    value, json = JSON[name]
    assert await stored_result(local_herd, records, value, in_thread=in_thread) == json
    assert not records.named("result.dropped")


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(("size", "stored"), [(998, True), (999, False)])
async def test_a_result_over_the_limit_is_not_stored_and_the_warning_says_the_sizes(
    local_herd: Oxherd, records: Records, size: int, stored: bool, in_thread: bool
) -> None:
    text = "x" * size
    found = await stored_result(local_herd, records, text, in_thread=in_thread, max_payload=1000)
    assert found == (f'"{text}"' if stored else "null")
    told = [record.__dict__["error"]["message"] for record in records.named("result.dropped")]
    sizes = "the handler's result is 1001 bytes of JSON and the limit is 1000 bytes"
    assert told == ([] if stored else [f"{sizes}: return less, or raise max_payload; it is not stored"])


def iterator() -> Iterator[int]:
    return map(int, ["1"])


def generator() -> Iterator[int]:
    return (each for each in [1])


def future() -> Future[int]:
    return Future()


async def late_generator() -> Any:
    return generator()


@pytest.mark.parametrize("handler", [iterator, generator, future, late_generator])
async def test_a_result_that_is_work_yet_to_be_done_fails_its_event(
    local_herd: Oxherd, records: Records, handler: Callable[[], Any]
) -> None:
    end = await run_one(local_herd, records, handler)
    assert (end.outcome, end.error["type"]) == ("failed", "UsageError")
    assert "returned work that is not done yet" in end.error["message"]


async def test_what_a_handler_returns_is_awaited_until_it_is_a_result(local_herd: Oxherd, records: Records) -> None:
    async def last() -> None:
        raise LookupError("here")

    @functools.wraps(last)
    def first() -> Any:
        return last()

    end = await run_one(local_herd, records, first)
    assert (end.outcome, end.error["type"], end.error["stack"][-1].split()[-1]) == ("failed", "LookupError", "last")


# -- eager tasks


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs eager tasks")
@pytest.mark.parametrize("when", ["before", "later"])
async def test_a_whole_run_is_the_same_with_eager_tasks(local_herd: Oxherd, records: Records, when: str) -> None:
    @local_herd.event("ended", concurrency=5, retry=Retry(attempts=2, delay=0.01), timeout=1)
    async def ended(number: int, ctx: Context) -> int:
        match number % 4:
            case 1:
                raise ValueError
            case 2:
                await ctx.progress(number)
            case 3:
                await asyncio.to_thread(ctx.progress_sync, number)
            case _:
                pass
        return number

    @local_herd.event("threaded")
    def threaded(number: int) -> int:
        return number

    def become_eager() -> None:
        factory: Any = vars(asyncio)["eager_task_factory"]
        asyncio.get_running_loop().set_task_factory(factory)

    if when == "before":
        become_eager()
    async with local_herd:
        await local_herd.start()
        if when == "later":
            become_eager()
        await ended.emit_many(list(range(40)))
        await asyncio.gather(*(threaded.emit(number) for number in range(10)))
        await records.wait("event.end", 40, outcome="completed")
        await records.wait("event.end", 10, outcome="failed", event="ended")
        assert len(records.named("event.end", outcome="retrying")) == 10
        report = await local_herd.stop()
    assert report == StopReport()
    assert not records.named("queue.error")
