"""A FastAPI application that emits an event in a request. Its tests are in `test_api.py`."""

from fastapi import FastAPI
from pydantic import BaseModel

from oxherd import Context, Oxherd, Retry
from oxherd.fastapi import lifespan

herd = Oxherd()


app = FastAPI(lifespan=lifespan(herd))


class Order(BaseModel):
    order_id: int


@app.post("/orders", status_code=202)
async def place_order(order: Order) -> dict[str, str]:
    emitted = await order_placed.emit(order)
    return {"event": str(emitted.id)}


@herd.event("order.placed", retry=Retry(attempts=3, delay=60))
async def order_placed(order: Order, ctx: Context) -> str:
    if ctx.attempt == 1:
        raise ConnectionError("the mail server is not ready yet")
    return f"mailed {order.order_id}"
