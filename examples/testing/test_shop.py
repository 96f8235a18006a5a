import pytest
import shop

from oxherd.testing import captured, inline


@pytest.fixture(autouse=True)
def no_orders() -> None:
    shop.database().execute("delete from orders")


def test_a_placed_order_is_an_event() -> None:
    with captured(shop.herd) as emits:
        shop.place_order(7)
    emits.assert_emitted(shop.order_placed, order_id=7)


def test_the_handler_sees_the_database_of_the_test() -> None:
    with inline(shop.herd):
        shop.place_order(7)
    assert shop.database().execute("select mailed from orders where id = 7").fetchone() == (1,)


def test_an_order_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError):
        shop.order_placed.call(shop.Order(order_id=8))
