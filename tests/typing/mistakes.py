"""Users' mistakes. A line marked `# error` is refused by both checkers, one marked `# error: pyright` by that one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, assert_type
from uuid import UUID

from pydantic import BaseModel

from oxherd import CallNext, Context, Cron, Depends, Event, Mask, Oxherd, Process, Retry, Snooze

herd = Oxherd()


class Order(BaseModel):
    order_id: int


@herd.event("a")
async def order_placed(order: Order, ctx: Context) -> str:
    return str(order.order_id)


declared = herd.declare("b", Order)


herd.declare("told", Order, on_failed="b")  # error
herd.declare("told", Order, on_failed=lambda failure: None)  # error


async def wrong_payloads() -> None:
    await order_placed.emit(1)  # error
    await order_placed.emit({"order_id": 1})  # error
    await order_placed.emit()  # error
    await order_placed.emit_many(Order(order_id=1))  # error
    await order_placed.emit_many([1])  # error
    order_placed.emit_sync("1")  # error
    await declared.emit(1)  # error
    await order_placed(1)  # error
    await order_placed.schedule("nightly", Cron("0 2 * * *"), 1)  # error
    await order_placed.schedule("nightly", "0 2 * * *", Order(order_id=1))  # error


async def wrong_options(order: Order) -> None:
    await order_placed.emit(order, delai=1)  # error
    await order_placed.emit(order, delay="1")  # error
    await order_placed.emit(order, priority=1.5)  # error
    await order_placed.emit(order, id="01a20cdd")  # error
    await order_placed.emit_many([order], id=UUID(int=1))  # error
    await order_placed.stop(timeout="30")  # error
    order_placed.emit_sync(order, once=[])  # error
    Oxherd(prefix=1)  # error
    Retry(attempts="5")  # error
    Retry(on="OSError")  # error
    Retry(never=int)  # error
    Retry(backoff=lambda attempt: 5)  # error
    Snooze("60")  # error
    Process(max_events="1000")  # error
    Process(max_memory=0.5)  # error
    await order_placed.pause(1)  # error
    await order_placed.set_limits(rate=5)  # error
    await order_placed.set_limits(max_running="3")  # error
    await order_placed.set_limits(rates=None)  # error
    herd.declare("c", Order, retries=3)  # error
    herd.declare("d", Order, timeout="30")  # error
    herd.declare("e", Order, run_in="process")  # error
    await order_placed.emit_many([order], id=None)  # error
    order_placed.emit_sync(order, durable=1)  # error
    herd.declare("f", Order, key=lambda order: order.customer)  # error: pyright
    # With a lambda among the arguments of an overload, mypy gives up the payload's type; a function keeps it.
    assert_type(herd.declare("g", Order, key=lambda order: order.order_id), Event[Order, Any])  # error: mypy


@herd.event("f", concurency=20)  # error
async def misspelt(order: Order) -> None: ...


@herd.event("g", retry=5)  # error
async def wrong_option(order: Order) -> None: ...


@herd.event("h", run_in="fiber")  # error
def no_place(order: Order) -> None: ...


@herd.event("j")  # error
async def no_payload() -> None: ...


@declared.process  # error
async def other_payload(order: int) -> None: ...


@declared.process  # error
async def other_payload_with_dependency(order: int, mailer: Annotated[str, Depends(str)]) -> None: ...


@herd.worker_lifespan  # error
async def no_generator(herd: Oxherd) -> None: ...


@herd.worker_lifespan  # error
async def of_nothing() -> AsyncIterator[None]:
    yield


@herd.middleware  # error
async def no_next(ctx: Context) -> object: ...


@herd.middleware  # error
def not_async(ctx: Context, call_next: CallNext) -> object: ...


Depends(5)  # error
herd.override(str, "fake")  # error


@declared.sanitize  # error
def other_sanitizer(order: int) -> int:
    return order


async def wrong_results(order: Order, ctx: Context) -> None:
    number: int = await order_placed(order)  # error
    event: Event[Order, int] = order_placed  # error
    moment: timedelta = (await order_placed.emit(order)).id  # error
    await order_placed(order, ctx.id)  # error
    order_placed.call(1)  # error
    receipt: int = herd.declare("l", Order, result=str).call(order)  # error
    herd.declare("m", Order, result="Receipt")  # error
    print(receipt)
    print(number, event, moment, Mask(1))  # error
