"""A synchronous application in the manner of Django: one database connection a thread, events emitted in requests.

Its tests are in `test_shop.py`.
"""

import sqlite3
import threading

from pydantic import BaseModel

from oxherd import Oxherd

herd = Oxherd()
_threads = threading.local()


class Order(BaseModel):
    order_id: int


def database() -> sqlite3.Connection:
    """This thread's connection, as Django has one for each."""
    if not hasattr(_threads, "connection"):
        _threads.connection = sqlite3.connect(":memory:")
        _threads.connection.execute("create table orders (id integer, mailed integer)")
    return _threads.connection


def place_order(order_id: int) -> None:
    """A view."""
    database().execute("insert into orders values (?, 0)", [order_id])
    order_placed.emit_sync(Order(order_id=order_id))


@herd.event("order.placed")
def order_placed(order: Order) -> None:
    done = database().execute("update orders set mailed = 1 where id = ?", [order.order_id])
    if done.rowcount == 0:
        raise LookupError(f"order {order.order_id} is not in the database")
