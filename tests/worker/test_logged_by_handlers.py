"""What handlers log themselves carries the event's id, and shows of the payload what the event's log shows."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Timer

import pytest
from pydantic import BaseModel

from oxherd import Allow, Context, Oxherd
from oxherd.telemetry.logs.json_formatter import JSONFormatter
from tests.harness import Records

CANARY = "kanarie7391"
log = logging.getLogger("shop")


class Order(BaseModel):
    order_id: str = "order-12"
    card: str = CANARY


class Bare(logging.Handler):
    """A user's own log handler, to which nobody has added a ContextFilter."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(JSONFormatter().format(record))


@pytest.fixture
def bare() -> Iterator[Bare]:
    handler = Bare()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def reveal(order: Order) -> None:
    log.info("order %s paid by %s", order.order_id, order.card, extra={"order": order, "cards": [order.card]})
    try:
        raise ValueError(f"{order!r}")
    except ValueError:
        log.exception("not paid by %s", order.card)


def assert_redacted(records: Records, event_id: str) -> None:
    shop = [record for record in records.all if record.name == "shop"]
    assert [record.getMessage() for record in shop] == ["order order-12 paid by ***", "not paid by ***"]
    assert {vars(record)["event_id"] for record in shop} == {event_id}
    lines = [JSONFormatter().format(record) for record in records.all]
    assert not [line for line in lines if CANARY in line]
    assert "ValueError: Order(order_id='order-12', card='***')" in lines[records.all.index(shop[1])]


@pytest.mark.parametrize("where", ["task", "task of its own", "thread", "def"])
async def test_a_handlers_own_records_are_redacted_wherever_they_are_made(
    local_herd: Oxherd, records: Records, where: str
) -> None:
    async def in_a_task(order: Order) -> None:
        if where == "thread":
            await asyncio.to_thread(reveal, order)
        elif where == "task":
            reveal(order)
        else:
            await asyncio.create_task(asyncio.to_thread(reveal, order))

    def in_a_thread(order: Order) -> None:
        reveal(order)

    function: Callable[[Order], object] = in_a_thread if where == "def" else in_a_task
    event = local_herd.event("order.placed", sanitize=Allow("order_id"))(function)  # pyright: ignore[reportArgumentType]
    async with local_herd:
        await local_herd.start()
        emitted = await event.emit(Order())
        await records.wait("event.end", outcome="completed")
    assert_redacted(records, str(emitted.id))


@pytest.mark.parametrize("where", ["thread", "timer", "pool"])
async def test_records_of_threads_that_are_handed_the_context_are_redacted(
    local_herd: Oxherd, records: Records, where: str
) -> None:
    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    def order_placed(order: Order) -> None:
        run = copy_context().run
        if where == "pool":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(run, reveal, order).result()
            return
        thread = (
            threading.Thread(target=run, args=(reveal, order)) if where == "thread" else Timer(0, run, (reveal, order))
        )
        thread.start()
        thread.join()

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
    assert_redacted(records, str(emitted.id))


async def test_the_contexts_own_logger_is_redacted_without_any_filter(
    local_herd: Oxherd, records: Records, bare: Bare
) -> None:
    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    async def order_placed(order: Order, ctx: Context) -> None:
        ctx.log.info("paid by %s", order.card)

    async with local_herd:
        await local_herd.start()
        await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
    assert any('"msg":"paid by ***"' in line for line in bare.lines)
    assert not any(CANARY in line for line in bare.lines)


async def test_the_contexts_own_logger_is_redacted_in_a_thread_that_knows_no_event(
    local_herd: Oxherd, records: Records, bare: Bare
) -> None:
    told: list[Context] = []

    @local_herd.event("order.placed", sanitize=Allow("order_id"))
    async def order_placed(order: Order, ctx: Context) -> None:
        told.append(ctx)
        thread = threading.Thread(target=lambda: ctx.log.warning("paid by %s", order.card, extra={order.card: 1}))
        thread.start()
        await asyncio.to_thread(thread.join)

    async with local_herd:
        await local_herd.start()
        emitted = await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
    (made,) = [record for record in records.all if record.name == "oxherd.event.order.placed"]
    assert (made.getMessage(), vars(made)["event_id"], vars(made)["***"]) == ("paid by ***", str(emitted.id), 1)
    assert made.filename == "test_logged_by_handlers.py"
    assert not any(CANARY in line for line in bare.lines)


async def test_where_the_sanitiser_fails_nothing_of_the_payload_is_in_a_handlers_records(
    local_herd: Oxherd, records: Records
) -> None:
    @local_herd.event("order.placed", sanitize=lambda order: 1 / 0)
    async def order_placed(order: Order) -> None:
        log.info("order %s paid by %s", order.order_id, order.card)

    async with local_herd:
        await local_herd.start()
        await order_placed.emit(Order())
        await records.wait("event.end", outcome="completed")
    (made,) = [record for record in records.all if record.name == "shop"]
    assert made.getMessage() == "order *** paid by ***"
