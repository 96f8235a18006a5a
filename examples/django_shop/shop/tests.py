"""`python manage.py test`: the shop without a server."""

from django.test import TestCase

from oxherd.django.testing import captured_events, handled_events
from shop.events import OrderPlaced, order_invoiced, order_placed
from shop.models import Order


class Ordering(TestCase):
    def order(self, **more: object) -> None:
        self.client.post("/orders/", {"item": "pen", **more}, content_type="application/json")

    def test_an_order_is_an_event(self) -> None:
        with captured_events() as emits:
            self.order()
        emits.assert_emitted(order_placed, order_id=Order.objects.get().pk)

    def test_an_order_that_is_rolled_back_is_none(self) -> None:
        self.client.raise_request_exception = False
        with captured_events() as emits:
            self.order(broken=True)
        emits.assert_not_emitted()
        self.assertFalse(Order.objects.exists())

    def test_an_order_is_confirmed(self) -> None:
        with handled_events():
            self.order()
        self.assertEqual(Order.objects.get().confirmed, 1)

    def test_its_invoice_names_the_item(self) -> None:
        order = Order.objects.create(item="ink")
        self.assertEqual(order_invoiced.call(OrderPlaced(order_id=order.pk)), "invoice of ink")
