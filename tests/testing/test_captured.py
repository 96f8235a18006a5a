"""`captured` keeps emits, and says what was emitted instead."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Context, Every, InvalidPayload, Oxherd, UsageError
from oxherd.testing import CapturedSchedule, captured, inline, run_until_empty


class Order(BaseModel):
    order_id: int
    email: str = "a@example.com"


@dataclass
class Mail:
    to: str


# Nothing answers there: whatever tried to connect would fail.
herd = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)
order_placed = herd.declare("order.placed", Order)
mail_wanted = herd.declare("mail.wanted", Mail)
anything = herd.declare("anything", Any)


async def test_it_keeps_the_payload_as_a_handler_would_get_it_and_how_it_was_to_be_sent() -> None:
    with captured(herd) as emits:
        known = UUID(int=7)
        await order_placed.emit(Order(order_id=7), delay=timedelta(minutes=5), priority=3, id=known)
    (emit,) = emits.emits
    assert (emit.event, emit.id, emit.payload) == ("order.placed", known, Order(order_id=7))
    assert (emit.delay, emit.priority) == (timedelta(minutes=5), 3)
    assert emits.assert_emitted(order_placed, order_id=7) is emit
    assert emits.assert_emitted(order_placed, Order(order_id=7)) is emit
    assert emits.of(order_placed) == [Order(order_id=7)]


async def test_it_shows_the_moment_and_the_expiry_of_an_emit() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    with captured(herd) as emits:
        await order_placed.emit(Order(order_id=7), at=moment, expires=7200)
        await order_placed.emit(Order(order_id=8))
    first, second = emits.emits
    assert first.at is not None
    assert abs(first.at - moment) <= timedelta(milliseconds=1)
    assert timedelta(minutes=59) < first.delay <= timedelta(hours=1, milliseconds=1)
    assert first.expires == timedelta(hours=2)
    assert (second.at, second.expires) == (None, None)


async def test_it_holds_for_every_kind_of_emit_and_for_threads() -> None:
    with captured(herd) as emits:
        await order_placed.emit_many([Order(order_id=1), Order(order_id=2)])
        thread = threading.Thread(
            target=lambda: (order_placed.emit_sync(Order(order_id=3)), order_placed.emit_many_sync([Order(order_id=4)]))
        )
        thread.start()
        thread.join()
    assert [order.order_id for order in emits.of(order_placed)] == [1, 2, 3, 4]


async def test_a_herd_that_is_entered_meanwhile_connects_to_nothing() -> None:
    with captured(herd) as emits:
        async with herd:
            await order_placed.emit(Order(order_id=1))
    emits.assert_emitted(order_placed)


async def test_what_is_invalid_is_refused_as_by_an_emit() -> None:
    with captured(herd) as emits:
        with pytest.raises(InvalidPayload):
            await order_placed.emit({"order_id": "x"})  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError):
            await order_placed.emit(Order(order_id=1), priority=-1)
    emits.assert_not_emitted()


async def test_schedules_are_kept_and_ended() -> None:
    with captured(herd) as emits:
        await order_placed.schedule("often", Every(60), Order(order_id=1))
        assert emits.schedules == {("order.placed", "often"): CapturedSchedule(Every(60), Order(order_id=1))}
        assert await order_placed.unschedule("often")
        assert not await order_placed.unschedule("often")
    assert emits.schedules == {}


async def test_emits_go_their_usual_way_afterwards_and_captures_do_not_nest() -> None:
    with captured(herd), pytest.raises(UsageError, match="end that first"), inline(herd):
        pass
    assert herd.delivery is None


def failure(call: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        call()
    return str(raised.value)


def test_a_failed_assertion_names_the_fields_that_differ() -> None:
    with captured(herd) as emits:
        order_placed.emit_sync(Order(order_id=8))
        order_placed.emit_sync(Order(order_id=7, email="b@example.com"))
        mail_wanted.emit_sync(Mail("c@example.com"))
    assert failure(lambda: emits.assert_emitted(order_placed, order_id=7, email="a@example.com")) == (
        "order.placed(order_id=7, email='a@example.com') was not emitted; order.placed was emitted twice:\n"
        "  1. differs in 1 field:\n"
        "     order_id  8, not 7\n"
        "  2. differs in 1 field:\n"
        "     email  'b@example.com', not 'a@example.com'"
    )
    assert failure(lambda: emits.assert_emitted(mail_wanted, Mail("d@example.com"))) == (
        "mail.wanted(Mail(to='d@example.com')) was not emitted; mail.wanted was emitted once:\n"
        "  1. differs in 1 field:\n"
        "     to  'c@example.com', not 'd@example.com'"
    )
    assert failure(lambda: emits.assert_emitted(anything)) == (
        "anything was not emitted; emitted were:\n"
        "  1. order.placed  Order(order_id=8, email='a@example.com')\n"
        "  2. order.placed  Order(order_id=7, email='b@example.com')\n"
        "  3. mail.wanted   Mail(to='c@example.com')"
    )
    assert failure(lambda: emits.assert_not_emitted(order_placed, order_id=8)) == (
        "order.placed(order_id=8) was emitted:\n  1. order.placed  Order(order_id=8, email='a@example.com')"
    )
    emits.assert_not_emitted(order_placed, order_id=9)


def test_a_failed_assertion_fits_on_a_screen() -> None:
    with captured(herd) as emits:
        order_placed.emit_many_sync(Order(order_id=number, email="x" * 10_000) for number in range(1000))
        anything.emit_many_sync(list(range(1000)))
    for message in (
        failure(lambda: emits.assert_emitted(order_placed, order_id=-1)),
        failure(lambda: emits.assert_emitted(anything, 1000)),
        failure(lambda: emits.assert_emitted(mail_wanted)),
        failure(emits.assert_not_emitted),
    ):
        lines = message.splitlines()
        assert len(lines) <= 42
        assert max(map(len, lines)) <= 200


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with captured(herd) as emits, pytest.raises(UsageError, match="did you mean 'order_id'"):
        emits.assert_emitted(order_placed, oder_id=7)


def test_nothing_emitted_at_all_is_said_so() -> None:
    with captured(herd) as emits:
        pass
    assert failure(lambda: emits.assert_emitted(order_placed)) == "order.placed was not emitted; nothing was."


async def test_a_handler_that_is_called_has_its_emits_kept() -> None:
    own = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)
    second = own.declare("second", Order)

    @own.event("first")
    async def first(order: Order, ctx: Context) -> None:
        await second.emit(order)

    @own.event("third")
    def third(order: Order) -> None:
        second.emit_sync(order)

    with captured(own) as emits:
        await first(Order(order_id=1))
        await asyncio.to_thread(third.call, Order(order_id=2))
        await third(Order(order_id=3))
    assert [order.order_id for order in emits.of(second)] == [1, 2, 3]


async def test_a_synchronous_emit_in_an_event_loop_is_refused_as_without_a_test_kit() -> None:
    with captured(herd) as emits:
        with pytest.raises(UsageError, match=r"await emit\(...\) instead"):
            order_placed.emit_sync(Order(order_id=7))
        with pytest.raises(UsageError, match=r"await emit_many\(...\) instead"):
            order_placed.emit_many_sync([Order(order_id=7)])
    emits.assert_not_emitted()


async def test_an_application_that_starts_its_herd_processes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    own = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)

    @own.event("first")
    async def first(order: Order) -> None: ...

    for keep in (captured, inline):
        with keep(own) as emits:
            async with own:
                await own.start()
                await first.emit(Order(order_id=1))
                assert not own.processing
                await own.stop()
        emits.assert_emitted(first, order_id=1)
    assert not caplog.records


async def test_what_handlers_emit_on_a_real_server_is_kept(oxherd_server: str) -> None:
    own = Oxherd()
    second = own.declare("second", Order)

    @own.event("first")
    async def first(order: Order) -> None:
        await second.emit(order)

    await first.emit(Order(order_id=1))
    await own.close()
    with captured(own) as emits:
        async with own:
            (ended,) = await run_until_empty(own)
    assert ended.outcome == "completed"
    emits.assert_emitted(second, order_id=1)


def test_values_that_differ_late_or_read_the_same_are_told_apart() -> None:
    own = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)
    text, secret = own.declare("text", dict[str, str]), own.declare("secret", dict[str, SecretStr])
    with captured(own) as emits:
        text.emit_sync({"body": "x" * 100 + "a" + "y" * 100})
        secret.emit_sync({"key": SecretStr("one")})
    assert failure(lambda: emits.assert_emitted(text, body="x" * 100 + "b" + "y" * 100)).splitlines()[-1] == (
        f"     body  ...{'x' * 20}a{'y' * 36}..., not ...{'x' * 20}b{'y' * 36}..."
    )
    assert failure(lambda: emits.assert_emitted(secret, key=SecretStr("two"))).splitlines()[-1] == (
        "     key  another SecretStr('**********') than wanted"
    )


def test_a_mapping_with_more_keys_is_another_payload() -> None:
    own = Oxherd("redis://127.0.0.1:1", emit_timeout=0.1)
    counts = own.declare("counts", dict[str, int])
    with captured(own) as emits:
        counts.emit_sync({"a": 1, "b": 2})
    assert failure(lambda: emits.assert_emitted(counts, {"a": 1, "c": 3})).splitlines()[1:] == [
        "  1. differs in 2 fields:",
        "     b  2, not <absent>",
        "     c  <absent>, not 3",
    ]
    emits.assert_emitted(counts, a=1)


def test_what_is_no_event_or_herd_is_refused() -> None:
    with captured(herd) as emits:
        for call in (emits.assert_emitted, emits.assert_not_emitted):
            with pytest.raises(UsageError, match="take an event"):
                call("order.placed")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="take a herd"), captured(order_placed):  # pyright: ignore[reportArgumentType]
        pass
