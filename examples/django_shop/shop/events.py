"""What the shop's workers do. `oxherd.django` imports this module of each app."""

from django.db.models import F
from pydantic import BaseModel

from oxherd import Context, Retry
from oxherd.django import herd
from shop.models import Order


class OrderPlaced(BaseModel):
    order_id: int


@herd.event("order.placed", concurrency=4, retry=Retry(attempts=8, delay=0.2))
def order_placed(order: OrderPlaced, ctx: Context) -> str:
    """A `def` handler: the ORM as in a view."""
    changed = Order.objects.filter(pk=order.order_id).update(confirmed=F("confirmed") + 1)
    if not changed:
        raise Order.DoesNotExist(f"order {order.order_id} is not committed")
    ctx.log.info("confirmed")
    return f"confirmed {order.order_id}"


@herd.event("order.counted", retry=Retry(attempts=8, delay=0.2))
async def order_counted(order: OrderPlaced) -> int:
    """An `async def` handler: the ORM's async methods."""
    return await Order.objects.filter(pk__lte=order.order_id).acount()


@herd.event("order.invoiced", run_in="process", retry=Retry(attempts=8, delay=0.2))
def order_invoiced(order: OrderPlaced) -> str:
    """A handler in a process of its own, in which Django is set up as well."""
    invoice = f"invoice of {Order.objects.get(pk=order.order_id).item}"
    Order.objects.filter(pk=order.order_id).update(invoice=invoice)
    return invoice
