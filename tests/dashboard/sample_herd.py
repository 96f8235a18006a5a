"""A shop's herd in every trouble that a dashboard tells of, for the tests in a browser and the docs' pictures."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from pydantic import BaseModel

from oxherd import Context, Cron, Mask, Oxherd, PerKey, Rate, Retry, Schedule

herd = Oxherd()


class Order(BaseModel):
    """What a customer has bought."""

    number: int
    customer: str = "c-7"
    email: Annotated[str, Mask("email")] = "ada@example.com"


@herd.event("mail.send", retry=Retry(attempts=1))
async def send_mail(order: Order, ctx: Context) -> None:
    """Fails for every third order."""
    await ctx.note(f"order {order.number}: template receipt")
    if order.number % 3 == 0:
        raise ConnectionError(f"mail.example.com:587 refuses the connection for {order.email}")


@herd.event(
    "order.placed",
    retry=Retry(attempts=3, delay=0.05),
    schedules={"weekly": Schedule(Cron("0 8 * * 1"), Order(number=1))},
)
async def order_placed(order: Order, ctx: Context) -> None:
    """Sends the receipt; fails for every tenth order."""
    await send_mail.emit(order)
    if order.number % 10 == 9:
        raise ValueError(f"no stock left for order {order.number}")


@herd.event("invoice.send", rate=Rate(1, per=3600))
async def send_invoice(order: Order) -> None:
    """Begins once an hour."""


@herd.event("parcel.track", key=lambda order: order.customer, per_key=PerKey(max_running=1))
async def track_parcel(order: Order, ctx: Context) -> None:
    """Never ends for the customer who floods it."""
    await ctx.progress(40)
    if order.customer == "c-7":
        await asyncio.Event().wait()


@herd.event("stock.sync")
async def sync_stock(order: Order) -> None:
    """Is paused."""


@herd.event("report.nightly", schedules={"berlin": Schedule(Cron("0 2 * * *", tz="Europe/Berlin"), Order(number=2))})
async def report(order: Order) -> None:
    """Runs at night."""


image_resize = herd.declare("image.resize", Order)


async def work_well() -> None:
    """Emit what is done, but for some failures and an event that is paused."""
    async with herd:
        await sync_stock.pause()
        await order_placed.emit_many([Order(number=number, customer=f"c-{number}") for number in range(4101, 4141)])
        await order_placed.emit(Order(number=4141), delay=5400)
        await sync_stock.emit_many([Order(number=number) for number in range(1, 10)])
        await track_parcel.emit(Order(number=4102))


async def get_stuck() -> None:
    """Emit what gets stuck for every reason, and what does not."""
    renamed = Oxherd()
    old = renamed.declare("cart.abandoned", Order)
    async with herd, renamed:
        await old.emit_many([Order(number=number) for number in range(1, 5)])
        await sync_stock.pause()
        await order_placed.emit_many([Order(number=number) for number in range(1, 41)])
        await order_placed.emit(Order(number=50), delay=5400)
        await track_parcel.emit_many([Order(number=number) for number in range(1, 131)])
        await send_invoice.emit_many([Order(number=number) for number in range(1, 6)])
        await sync_stock.emit_many([Order(number=number) for number in range(1, 10)])
        await image_resize.emit_many([Order(number=number) for number in range(1, 4)])


if __name__ == "__main__":
    asyncio.run(get_stuck() if "--stuck" in sys.argv else work_well())
