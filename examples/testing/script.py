"""A plain script: emits an event for each line of a file. Its tests are in `test_script.py`."""

import sys
from pathlib import Path

from pydantic import BaseModel

from oxherd import Oxherd

herd = Oxherd()


class Order(BaseModel):
    order_id: int
    item: str


@herd.event("order.imported")
def order_imported(order: Order) -> str:
    return f"{order.order_id}: {order.item}"


def main(file: Path) -> int:
    orders = [Order.model_validate_json(line) for line in file.read_text().splitlines()]
    order_imported.emit_many_sync(orders)
    return len(orders)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])), "orders")
