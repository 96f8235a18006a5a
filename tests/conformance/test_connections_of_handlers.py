"""Connections that are opened while a handler runs outlive its event, and keep nothing of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from oxherd import Oxherd
from oxherd.errors import OxherdError
from tests.harness import Records, until


class Secret:
    """What a handler holds while it runs."""


_secret: ContextVar[Secret] = ContextVar("_secret")


@pytest.mark.parametrize("durable", [False, True], ids=["plain", "durable"])
async def test_a_connection_that_is_opened_in_a_handler_keeps_nothing_of_its_event(
    durable: bool, url: str, herd: Oxherd, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    # asyncio keeps a cancelled timer, and its context, until it would have fired.
    other = make_herd(url, emit_timeout=1)
    mail = other.declare("mail.send", dict[str, int])
    kept: list[weakref.ref[Secret]] = []

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        secret = Secret()
        kept.append(weakref.ref(secret))
        _secret.set(secret)
        try:
            await mail.emit({"n": number}, durable=durable)
        except OxherdError:
            assert durable  # this server has neither a disk nor replicas

    async with herd, other:
        await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", event="order.placed", outcome="completed")
        await until(lambda: gc.collect() >= 0 and [each() for each in kept] == [None])
