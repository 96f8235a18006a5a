import asyncio
from typing import Annotated

from pydantic import BaseModel, SecretStr

from oxherd import Context, Mask, Oxherd, Retry

herd = Oxherd()  # $OXHERD_URL, or an embedded Valkey where there is none


class OrderPlaced(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]
    card: SecretStr


@herd.event("order.placed", concurrency=20, retry=Retry(attempts=5, delay=0.1), timeout=30)
async def order_placed(order: OrderPlaced, ctx: Context) -> None:
    if ctx.attempt == 1:
        raise ConnectionError(f"the bank refused {order.card.get_secret_value()}, try again")
    ctx.log.info("charged")


async def main() -> None:
    order = OrderPlaced(order_id=1, email="alice@example.com", card=SecretStr("4111 1111 1111 1111"))
    print((await order_placed.emit(order)).id)


if __name__ == "__main__":
    asyncio.run(main())
