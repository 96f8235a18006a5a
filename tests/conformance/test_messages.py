"""Events that were written down and are sent later: with their options and times, and once under one id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from oxherd import Context, Event, Oxherd, PerKey, Retry, Unique, UsageError
from oxherd.producer.messages import Message, RelayOptions, StoredBackoff, StoredRetry, read_options
from tests.harness import Records


def message(event: Event[int, None], payload: int, options: RelayOptions) -> Message:
    made = event.message(payload)
    return Message(made.id, made.event, made.data, made.metadata, options)


async def relay(event: Event[int, None], sent: Message) -> None:
    # As a row of a table: its options as text.
    await event.relay(str(sent.id), sent.data, sent.metadata, read_options(sent.options.to_json()))


def ago(delta: timedelta) -> int:
    return int((datetime.now(UTC) - delta).timestamp() * 1000)


async def test_a_message_that_is_sent_twice_makes_one_event(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(number: int) -> None: ...

    chosen = uuid4()
    sent = order_placed.message(7, id=chosen)
    assert sent.id == chosen
    async with herd:
        await herd.start()
        await relay(order_placed, sent)
        await records.wait("event.end", event_id=chosen)
        await relay(order_placed, sent)
        last = await order_placed.emit(8)
        await records.wait("event.end", event_id=last.id)
        await herd.stop()
    assert len(records.named("event.begin", event_id=chosen)) == 1


async def test_a_late_message_keeps_the_time_of_its_emit(herd: Oxherd, records: Records) -> None:
    seen: list[datetime] = []

    @herd.event("order.placed")
    async def order_placed(number: int, ctx: Context) -> None:
        seen.append(ctx.emitted_at)

    async with herd:
        await herd.start()
        emitted_ms = ago(timedelta(hours=2))
        # Due an hour ago: it begins at once.
        late = message(order_placed, 7, RelayOptions(emitted_ms=emitted_ms, due_ms=ago(timedelta(hours=1)), priority=3))
        await relay(order_placed, late)
        await records.wait("event.end", event_id=late.id)
        expired = message(order_placed, 7, RelayOptions(emitted_ms=emitted_ms, expires_ms=3_600_000))
        await relay(order_placed, expired)
        await records.wait("event.expired", event_id=expired.id)
        await herd.stop()
    assert seen == [datetime.fromtimestamp(emitted_ms / 1000, UTC)]


async def test_a_message_that_is_not_due_waits_for_its_moment(herd: Oxherd) -> None:
    placed = herd.declare("order.placed", int, result=None)
    due_ms = ago(timedelta(hours=-1))
    sent = message(placed, 7, RelayOptions(emitted_ms=ago(timedelta(hours=2)), due_ms=due_ms))
    async with herd:
        await relay(placed, sent)
        status = await placed.emitted(sent.id).status()
    assert status is not None
    assert status.state == "delayed"
    assert status.due_at is not None
    assert abs(status.due_at.timestamp() * 1000 - due_ms) < 5


async def test_a_message_may_have_a_retry_of_its_own(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(number: int) -> None:
        raise ValueError

    retry = StoredRetry(2, StoredBackoff("fixed", 1, 0.0))
    sent = message(order_placed, 7, RelayOptions(emitted_ms=ago(timedelta()), retry=retry))
    async with herd:
        await herd.start()
        await relay(order_placed, sent)
        await records.wait("event.end", event_id=sent.id, outcome="failed", attempt=2)
        await herd.stop()


async def test_the_keys_of_an_event_hold_for_its_messages(herd: Oxherd, records: Records) -> None:
    unique = Unique(until="done", by=lambda number: number % 10)

    @herd.event(
        "order.placed", expires=3600, key=lambda number: number % 10, per_key=PerKey(max_running=1), unique=unique
    )
    async def order_placed(number: int) -> None: ...

    options = RelayOptions(emitted_ms=ago(timedelta(minutes=59)))
    async with herd:
        first, same, other, expired = (message(order_placed, number, options) for number in (1, 11, 2, 3))
        for each in (first, same, other):
            await relay(order_placed, each)
        too_late = RelayOptions(emitted_ms=ago(timedelta(minutes=61)))
        await relay(order_placed, Message(expired.id, expired.event, expired.data, "", too_late))
        assert await order_placed.emitted(same.id).status() is None
        await herd.start()
        await records.wait("event.end", event_id=first.id)
        await records.wait("event.end", event_id=other.id)
        await records.wait("event.expired", event_id=expired.id)
        await herd.stop()
    assert not records.named("event.begin", event_id=same.id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '{"priority": "1"}',
        '{"due_ms": -1}',
        '{"retry": {"attempts": 0, "backoff": {"type": "fixed", "delay": 1, "jitter": 0.0}}}',
        '{"retry": {"attempts": 2, "backoff": {"type": "f", "delay": 1, "jitter": 0.0}}}',
        '{"due_ms": 1e300}',
        '{"priority": 2097152}',
        '{"expires_ms": 999999999999999}',
    ],
)
def test_options_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_options(text)


def test_only_what_was_given_is_stored(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int, result=None)
    before = ago(timedelta())
    retry = Retry(attempts=7, delay=3, jitter=0)
    sent = placed.message(7, priority=2, expires=60, once=5, durable=True, delay=30, retry=retry).options
    assert before <= sent.emitted_ms <= ago(timedelta())
    assert sent.due_ms - sent.emitted_ms == 30_000
    assert (sent.priority, sent.expires_ms, sent.once_ms, sent.durable) == (2, 60_000, 5_000, True)
    assert sent.retry == StoredRetry(7, StoredBackoff("exponential", 3_000, 0.0))
    assert placed.message(7).options.retry is None
    assert read_options(sent.to_json()) == sent
    assert RelayOptions().to_json() == "{}"
