"""What an event leaves behind in a worker: nothing, so that the garbage collector has little to do."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from oxherd import Context, Discard, Oxherd, Retry
from oxherd.bullmq.job import Job
from oxherd.telemetry.opentelemetry import Traces
from oxherd.worker.running.execution import Execution
from tests.harness import Records, until

_OF_AN_EVENT = (Context, Job, Execution)
_EVENTS = 5


async def returns(_: dict[str, Any], context: Context) -> None:
    await context.progress(1)


async def logs(payload: dict[str, Any], context: Context) -> None:
    context.log.info("so it is")


def in_a_thread(payload: dict[str, Any], context: Context) -> None:
    context.progress_sync(1)


def raises_in_a_thread(payload: dict[str, Any]) -> None:
    raise ValueError(payload)


async def raises(payload: dict[str, Any]) -> None:
    try:
        raise ValueError(payload)
    except ValueError as error:
        raise RuntimeError("further out") from error


async def discards(_: dict[str, Any]) -> None:
    raise Discard("of no use")


async def takes_too_long(_: dict[str, Any]) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def left() -> Iterator[Callable[[], list[object]]]:
    """What there is of events, but for those of tests before; the collector is off meanwhile."""
    gc.collect()
    gc.disable()
    before = _of_events()  # kept, so that no other gets the id of one of them
    known = set(map(id, before))
    yield lambda: [each for each in _of_events() if id(each) not in known]
    gc.enable()


def _of_events() -> list[object]:
    return [each for each in gc.get_objects() if issubclass(type(each), _OF_AN_EVENT)]


def raises_it_again(attempt: int, error: BaseException) -> float:
    raise error


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (returns, "completed"),
        (logs, "completed"),
        (in_a_thread, "completed"),
        (raises, "failed"),
        (raises_in_a_thread, "failed"),
        (discards, "discarded"),
        (takes_too_long, "timed_out"),
    ],
)
async def test_an_event_that_has_ended_is_gone_without_the_garbage_collector(
    local_herd: Oxherd,
    records: Records,
    left: Callable[[], list[object]],
    handler: Callable[..., Any],
    outcome: str,
    traced: bool,
) -> None:
    if traced:
        Traces(local_herd, TracerProvider())
    timeout = 0.1 if handler is takes_too_long else None
    event = local_herd.event("gone", retry=Retry(attempts=2, delay=0.01), timeout=timeout)(handler)
    async with local_herd:
        await local_herd.start()
        await event.emit_many([{"n": n} for n in range(_EVENTS)])
        await records.wait("event.end", _EVENTS, outcome=outcome)
        records.all.clear()  # a record of an error holds its frames
        await until(lambda: not left(), deadline=5)


@pytest.mark.parametrize("handler", [raises, raises_in_a_thread, takes_too_long])
async def test_a_function_that_is_given_the_error_keeps_nothing_alive(
    local_herd: Oxherd, records: Records, left: Callable[[], list[object]], handler: Callable[..., Any]
) -> None:
    retry = Retry(attempts=2, delay=0.01, backoff=raises_it_again)
    event = local_herd.event("gone", retry=retry, timeout=0.1 if handler is takes_too_long else None)(handler)
    async with local_herd:
        await local_herd.start()
        await event.emit_many([{"n": n} for n in range(_EVENTS)])
        await records.wait("event.end", _EVENTS, outcome="retrying")
        await records.wait("event.end", _EVENTS, attempt=2)
        records.all.clear()
        await until(lambda: not left(), deadline=5)
