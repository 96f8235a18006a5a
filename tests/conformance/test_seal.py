"""Sealed payloads: unreadable in Redis, intact for the handler, and a clear error if they cannot be opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Allow, ConfigError, Context, Event, Every, Keyring, Mask, Oxherd, Retry
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.shards import shard_queues
from oxherd.redis.client import ScriptError
from tests.harness import Records, until

CANARY = "kanarie7391"
A, B = (Keyring.generate() for _ in range(2))
KEYRING = Keyring({"a": A})
ROTATED = Keyring({"b": B, "a": A})
MARK = "oxherd:sealed"


class Order(BaseModel):
    order_id: int = 7
    email: Annotated[str, Mask("email")] = f"alice@{CANARY}.nl"
    card: SecretStr = SecretStr(CANARY)
    note: Annotated[str, Mask()] = CANARY


@dataclass
class Seen:
    """The payloads that a handler received."""

    orders: list[Order]

    def __call__(self, herd: Oxherd, **options: Any) -> Event[Order, None]:
        """Declare an event whose handler records them; order 13 fails, with its secret in the message."""
        given: dict[str, Any] = {"seal": KEYRING, **options}

        @herd.event("order.placed", **given)
        async def order_placed(order: Order) -> None:
            self.orders.append(order)
            if order.order_id == 13:
                raise ValueError(f"declined {order.card.get_secret_value()} of {order.email}")

        return order_placed


@pytest.fixture
def seen() -> Seen:
    return Seen([])


async def stored_texts(herd: Oxherd, queue: str = "{order.placed}") -> dict[str, str]:
    """Each key of a queue, with all it holds as one text."""
    backend = await herd.backend()
    keys = backend.queue_named(queue).keys
    reads = [("GET",), ("HGETALL",), ("LRANGE", 0, -1), ("ZRANGE", 0, -1), ("SMEMBERS",), ("XRANGE", "-", "+")]
    found: dict[str, str] = {}
    for name in await stored_keys(backend.queue_named(queue)):
        for command, *rest in reads:
            try:
                found[name] = str(
                    await backend.client.call(keys.slot, command, f"{keys.base}{name}", *rest, quiet=True)
                )
            except ScriptError:
                continue
    return found


async def field(herd: Oxherd, job: object, name: str) -> str:
    backend = await herd.backend()
    keys = backend.queue(herd["order.placed"].declaration).keys
    return (await backend.client.call(keys.slot, "HGET", keys.job(str(job)), name)).decode()


def logged(records: Records) -> str:
    return "\n".join(str(vars(record)) for record in records.all if record.name.startswith("oxherd"))


@pytest.mark.parametrize("whole", [True, False])
async def test_nothing_sealed_is_in_redis_or_in_the_log_and_the_handler_is_given_all_of_it(
    whole: bool, herd: Oxherd, records: Records, seen: Seen
) -> None:
    seal = KEYRING if whole else KEYRING.fields("email", "card", "note")
    event = seen(herd, seal=seal, sanitize=Allow("order_id", "email"), retry=Retry(attempts=2, delay=0))
    async with herd:
        one = await event.emit(Order())
        failing = await event.emit(Order(order_id=13))
        many = await event.emit_many([Order(), Order()], priority=2)
        later = await event.emit(Order(), delay=0.3)
        await event.schedule("often", Every(3600), Order())
        waiting = await stored_texts(herd)
        stored = [json.loads(await field(herd, each.id, "data")) for each in (one, failing, *many, later)]
        await event.start()
        await records.wait("event.end", count=4, outcome="completed")
        await records.wait("event.end", outcome="failed", event_id=failing.id)
        assert "declined *** of ***" in await field(herd, failing.id, "stacktrace")
        assert await field(herd, failing.id, "failedReason") == "declined *** of ***"
        failed = await stored_texts(herd)
    for found in (waiting, failed):
        assert len(found) > 5
        assert CANARY not in str(found)
    assert "oxherd:sealed" in str(failed[str(failing.id)])
    for each in stored:
        assert (set(each) == {MARK}) is whole
        assert whole or each["order_id"] in (7, 13)
    assert CANARY not in logged(records)
    assert vars(records.named("event.begin", event_id=one.id)[0])["payload"] == {"order_id": 7, "email": "a***@***"}
    assert len(seen.orders) == 6
    assert all(order.card.get_secret_value() == CANARY for order in seen.orders)


async def test_events_that_were_sealed_before_a_rotation_run_after_it(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    old, new = make_herd(url), make_herd(url)
    before, after = Seen([]), Seen([])
    event, rotated = before(old, seal=KEYRING), after(new, seal=ROTATED)
    async with old, new:
        emitted = [await event.emit(Order(order_id=1)), await rotated.emit(Order(order_id=2))]
        names = [json.loads(await field(new, each.id, "data"))[MARK].split(".")[1] for each in emitted]
        assert names == ["a", "b"]
        await rotated.start()
        for each in emitted:
            await records.wait("event.end", event_id=each.id, outcome="completed")
    assert [order.order_id for order in after.orders] == [1, 2]


async def test_an_event_whose_key_is_gone_fails_at_once_with_the_reason(
    url: str, make_herd: Callable[..., Oxherd], records: Records, seen: Seen
) -> None:
    old, new = make_herd(url), make_herd(url)
    event, left = Seen([])(old, seal=KEYRING), seen(new, seal=Keyring({"b": B}), retry=Retry(attempts=5))
    async with old, new:
        gone = await event.emit(Order())
        kept = await left.emit(Order())
        await left.start()
        await records.wait("event.end", event_id=kept.id, outcome="completed")
        (fault,) = await records.wait("queue.error", source="data", event_id=gone.id)
        why = (
            "order.placed: the payload is sealed with the key 'a', which the Keyring does not have here: add it, and "
            "retry the event."
        )
        assert (fault.error["type"], fault.error["message"]) == ("SealError", why)

        async def failed() -> bool:
            backend = await new.backend()
            return (await backend.queue(left.declaration).counts())["failed"] == 1

        await until(failed)
        assert await field(new, gone.id, "failedReason") == why
        assert await field(new, gone.id, "atm") == "1"
        await new.stop()
    assert not records.named("event.begin", event_id=gone.id)
    assert len(seen.orders) == 1
    assert CANARY not in logged(records)


DAMAGES: list[Callable[[str], str]] = [
    lambda data: data.replace("v1.a.", "v1.a.A"),
    lambda data: data[:-9] + data[-2:],
    lambda data: '{"oxherd:sealed":null}',
    lambda data: json.dumps({"order_id": 7, "card": json.loads(data)}),
    lambda data: json.dumps([json.loads(data)]),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_sealed_text_that_was_changed_fails_its_event_alone(
    damage: Callable[[str], str], local_herd: Oxherd, records: Records, seen: Seen
) -> None:
    event = seen(local_herd)
    async with local_herd:
        changed, whole = await event.emit(Order()), await event.emit(Order())
        backend = await local_herd.backend()
        keys = backend.queue(event.declaration).keys
        data = damage(await field(local_herd, changed.id, "data"))
        await backend.client.call(keys.slot, "HSET", keys.job(str(changed.id)), "data", data)
        await event.start()
        await records.wait("event.end", event_id=whole.id, outcome="completed")
        (fault,) = await records.wait("queue.error", source="data", event_id=changed.id)
        assert fault.error["type"] == "SealError"
        await until(lambda: field(local_herd, changed.id, "failedReason"))
    assert not records.named("event.begin", event_id=changed.id)


async def test_a_sealed_payload_cannot_be_moved_to_another_event(local_herd: Oxherd, records: Records) -> None:
    herd, given = local_herd, list[Order]()

    @herd.event("order.placed", queue="{orders}", seal=KEYRING)
    async def order_placed(order: Order) -> None:
        given.append(order)

    @herd.event("order.billed", queue="{orders}", seal=KEYRING)
    async def order_billed(order: Order) -> None:
        given.append(order)

    async with herd:
        moved = await order_placed.emit(Order())
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        await backend.client.call(keys.slot, "HSET", keys.job(str(moved.id)), "name", "order.billed")
        await herd.start()
        (fault,) = await records.wait("queue.error", source="data", event_id=moved.id)
        assert "sealed for another event" in fault.error["message"]
    assert not given


async def test_unsealed_payloads_run_during_a_migration_and_fail_where_the_keyring_is_strict(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records, seen: Seen
) -> None:
    producer, lenient, strict = (make_herd(standalone) for _ in range(3))
    plain = producer.declare("order.placed", Order)
    event, refusing = seen(lenient), seen(strict, seal=Keyring({"a": A}, strict=True))
    async with producer, lenient, strict:
        first = await plain.emit(Order())
        await event.start()
        await records.wait("event.end", event_id=first.id, outcome="completed")
        await lenient.stop()
        second, third = await plain.emit(Order()), await refusing.emit(Order())
        await refusing.start()
        (fault,) = await records.wait("queue.error", source="data", event_id=second.id)
        assert "is not sealed, and the Keyring is strict" in fault.error["message"]
        await records.wait("event.end", event_id=third.id, outcome="completed")
    assert len(seen.orders) == 2


async def test_an_event_that_is_declared_without_a_keyring_does_not_take_a_seal_for_its_payload(
    standalone: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    class Lenient(BaseModel):
        note: str = "none"

    producer, herd, given = make_herd(standalone), make_herd(standalone), list[Lenient]()
    sealed = producer.declare("order.placed", Lenient, seal=KEYRING)

    @herd.event("order.placed")
    async def order_placed(order: Lenient) -> None:
        given.append(order)

    async with producer, herd:
        emitted = await sealed.emit(Lenient(note=CANARY))
        await order_placed.start()
        (fault,) = await records.wait("queue.error", source="data", event_id=emitted.id)
        assert "is declared without seal= here" in fault.error["message"]
    assert not given


async def test_keys_of_shards_and_ticks_see_what_was_sealed(herd: Oxherd, records: Records, seen: Seen) -> None:
    def key(order: Order) -> str:
        return order.note

    event = seen(herd, shards=4, key=key)
    async with herd:
        await event.emit_many([Order(note=f"{CANARY}{number % 2}") for number in range(20)])
        backend = await herd.backend()
        counts = [(await backend.queue_named(name).counts())["wait"] for name in shard_queues("order.placed", 4)]
        assert sorted(counts)[-2:] in ([10, 10], [0, 20])
        await event.schedule("often", Every(0.3), Order(order_id=5))
        await event.start()
        await records.wait("event.end", count=22, outcome="completed")
        await event.unschedule("often")
        for name in shard_queues("order.placed", 4):
            assert CANARY not in str(await stored_texts(herd, name))
    assert any(order.order_id == 5 for order in seen.orders)
    assert not records.named("queue.error")


async def test_a_schedule_that_is_asked_for_again_is_left_alone_until_the_key_changes(
    standalone: str, make_herd: Callable[..., Oxherd], seen: Seen
) -> None:
    herd, other = make_herd(standalone), make_herd(standalone)
    event, rotated = seen(herd), seen(other, seal=ROTATED)
    async with herd, other:

        async def template() -> str:
            stored = await stored_texts(herd)
            return next(text for name, text in stored.items() if name == "repeat:nightly")

        await event.schedule("nightly", Every(3600), Order())
        first = await template()
        assert CANARY not in first
        await event.schedule("nightly", Every(3600), Order())
        assert await template() == first
        await event.schedule("nightly", Every(3600), Order(note="another"))
        second = await template()
        assert second != first
        await rotated.schedule("nightly", Every(3600), Order(note="another"))
        assert "v1.b." in await template()
        third = await template()
        await rotated.schedule("nightly", Every(3600), Order(note="another"))
        assert await template() == third


async def test_a_worker_whose_keys_cannot_be_read_does_not_start(local_herd: Oxherd, records: Records) -> None:
    herd, there = local_herd, False

    def key() -> str:
        if not there:
            raise KeyError(CANARY)
        return A

    @herd.event("order.shipped")
    async def order_shipped(order: Order) -> None: ...

    @herd.event("order.placed", seal=Keyring({"a": key}))
    async def order_placed(order: Order) -> None: ...

    async with herd:
        for use in (herd.start, order_placed.start, lambda: order_placed.emit(Order())):
            with pytest.raises(ConfigError, match=r"^The key 'a' of the Keyring could not be read \(KeyError\)"):
                await use()
        assert not records.named("worker.start")
        there = True
        await herd.start()
        emitted = await order_placed.emit(Order())
        await records.wait("event.end", event_id=emitted.id, outcome="completed")


async def test_a_plain_call_is_given_the_payload_itself(local_herd: Oxherd, seen: Seen) -> None:
    await seen(local_herd)(
        Order(order_id=1), Context(event_id="0198a0f0-0000-7000-8000-0000000000ab", event="x", emitted_ms=0)
    )
    assert seen.orders == [Order(order_id=1)]
