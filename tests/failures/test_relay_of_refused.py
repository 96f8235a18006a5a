"""Failures that their target refuses again and again, beside those that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from oxherd import Failure, Oxherd, Retry
from oxherd.worker.upkeep import relay
from tests.harness import until


def customer(failure: Failure[str]) -> str:
    if failure.payload == "refused":
        raise ValueError
    return failure.payload


async def test_failures_that_are_refused_take_no_room_of_those_that_are_not(
    local_herd: Oxherd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_MOST_PENDING", 40)
    told: list[str] = []

    @local_herd.event("invoice.failed", key=customer, shards=2)
    async def invoice_failed(failure: Failure[str]) -> None:
        told.append(failure.payload)

    @local_herd.event("invoice.send", on_failed=invoice_failed, retry=Retry(attempts=1))
    async def send_invoice(customer: str) -> None:
        raise ValueError

    async with local_herd:
        backend = await local_herd.backend()
        keys = backend.queue(send_invoice.declaration).keys

        async def left() -> Any:
            return await backend.client.call(keys.slot, "HLEN", keys.outbox)

        await local_herd.start()
        await send_invoice.emit_many(["refused"] * 100)
        await until(lambda: _is(left(), 100))
        await send_invoice.emit_many(["taken"] * 5)
        await until(lambda: told == ["taken"] * 5)
        assert await left() == 100


async def _is(value: Any, wanted: int) -> bool:
    return bool(await value == wanted)
