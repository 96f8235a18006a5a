"""`emit(retry=...)` and `Event.payload`, on every kind of server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Event, InvalidPayload, Keyring, Oxherd, Retry, UsageError
from oxherd.testing import run_until_empty


class Order(BaseModel):
    number: int
    card: SecretStr = SecretStr("4111")


def failing(herd: Oxherd, **options: Any) -> Event[Order, None]:
    @herd.event("order.placed", **options)
    async def order_placed(order: Order) -> None:
        raise ConnectionError("away")

    return order_placed


async def test_an_emit_has_a_retry_of_its_own(herd: Oxherd) -> None:
    event = failing(herd, retry=Retry(attempts=2, delay=5), expires=3600)
    async with herd:
        emits = {
            (await event.emit(Order(number=1))).id: 2,
            (await event.emit(Order(number=2), retry=Retry(attempts=1))).id: 1,
            (await event.emit(Order(number=3), retry=Retry(attempts=3, delay=0.01, backoff="fixed"), priority=1)).id: 3,
            (await event.emit_many([Order(number=4)], retry=Retry(attempts=4, delay=0), delay=10))[0].id: 4,
        }
        runs = await run_until_empty(herd)
        for event_id, attempts in emits.items():
            assert max(run.attempt for run in runs if run.id == event_id) == attempts
            story = await herd.admin.show(event_id)
            assert story is not None
            assert (story.attempt, story.attempts_allowed, story.outcome) == (attempts, attempts, "failed")
            assert story.expires_at is not None


async def test_the_declared_classes_hold_for_an_emits_own_retry(herd: Oxherd) -> None:
    event = failing(herd, retry=Retry(never=ConnectionError))
    async with herd:
        await event.emit(Order(number=1), retry=Retry(attempts=3, delay=0))
        (run,) = await run_until_empty(herd)
    assert run.outcome == "failed"


@pytest.mark.parametrize(
    "retry",
    [3, Retry(on=OSError), Retry(never=OSError), Retry(max_delay=1), Retry(backoff=lambda attempt, error: 1)],
)
async def test_what_is_not_stored_of_a_retry_is_refused(local_herd: Oxherd, retry: Any) -> None:
    event = failing(local_herd)
    async with local_herd:
        with pytest.raises(UsageError, match=r"^order\.placed: (retry must be|of a retry beside the declared one)"):
            await event.emit(Order(number=1), retry=retry)
        assert (await local_herd.admin.events())[0].waiting == 0


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_stored_payload_is_read_as_a_handler_would_get_it(herd: Oxherd, shards: int) -> None:
    keys = Keyring({"a": b"0" * 32})
    event = herd.declare("order.placed", Order, shards=shards, seal=keys.fields("card"), key=lambda order: order.number)
    async with herd:
        order = Order(number=7, card=SecretStr("4000-0000"))
        emitted = await event.emit(order)
        assert await event.payload(emitted.id) == order
        assert await event.payload(str(emitted.id)) == order
        assert await event.payload(uuid4()) is None
        assert await emitted.cancel()
        assert await event.payload(emitted.id) is None


async def test_a_payload_that_does_not_fit_says_so_without_its_values(
    make_herd: Callable[..., Oxherd], url: str
) -> None:
    herd, other = make_herd(url), make_herd(url)
    one, two = herd.declare("a", int, queue="{shared}"), herd.declare("b", int, queue="{shared}")
    older = other.declare("a", str, queue="{shared}")
    async with herd, other:
        emitted = await older.emit("a-secret")
        with pytest.raises(InvalidPayload) as raised:
            await one.payload(emitted.id)
        assert "a-secret" not in str(raised.value)
        assert await two.payload(emitted.id) is None  # another event's, on the same queue
