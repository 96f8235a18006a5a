"""Takes orders."""

import json

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from oxherd.django import emit_on_commit
from shop.events import OrderPlaced, order_placed
from shop.models import Order


@csrf_exempt  # a program's, for the example
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    """Store an order, and emit its event once it is committed."""
    asked = json.loads(request.body)
    with transaction.atomic():
        order = Order.objects.create(item=asked["item"])
        emitted = emit_on_commit(order_placed, OrderPlaced(order_id=order.pk))
        if asked.get("broken"):
            raise ValueError("the order is rolled back, and its event with it")
    return JsonResponse({"order": order.pk, "event": str(emitted.id)}, status=202)


@require_GET
def show_order(request: HttpRequest, order_id: int) -> JsonResponse:
    """How often it was confirmed."""
    order = get_object_or_404(Order, pk=order_id)
    return JsonResponse({"item": order.item, "confirmed": order.confirmed, "invoice": order.invoice})
