"""`on_failed=`: an event that has failed for good is told to another one, wherever both have their queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, SecretStr

from oxherd import Context, Discard, Event, Failure, Keep, Keyring, Mask, Oxherd, Retry
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.outbox import Outbox
from oxherd.bullmq.shards import shard_queues
from oxherd.redis.client import ScriptError
from tests.harness import Records, until

CANARY = "kanarie7391"


class Invoice(BaseModel):
    number: int = 7
    email: Annotated[str, Mask("email")] = f"alice@{CANARY}.nl"
    card: SecretStr = SecretStr(CANARY)
    customer: str = "a"


class Told:
    """Declares `invoice.failed`, and keeps what its handler is given."""

    def __init__(self, herd: Oxherd, **options: Any) -> None:
        self.failures: list[Failure[Invoice]] = []
        self.contexts: list[Context] = []

        @herd.event("invoice.failed", **options)
        async def invoice_failed(failure: Failure[Invoice], ctx: Context) -> None:
            self.failures.append(failure)
            self.contexts.append(ctx)

        self.event: Event[Failure[Invoice], None] = invoice_failed

    async def wait(self, count: int = 1) -> list[Failure[Invoice]]:
        await until(lambda: len(self.failures) >= count)
        return self.failures


def failing(herd: Oxherd, told: Told, **options: Any) -> Event[Invoice, None]:
    given: dict[str, Any] = {"retry": Retry(attempts=1), **options}

    @herd.event("invoice.send", on_failed=told.event, **given)
    async def send_invoice(invoice: Invoice) -> None:
        raise ValueError(f"no mail for {invoice.email}")

    return send_invoice


async def left(herd: Oxherd, queue: str = "{invoice.send}") -> int:
    """How many messages are in a queue's outbox."""
    backend = await herd.backend()
    keys = backend.queue_named(queue).keys
    return int(await backend.client.call(keys.slot, "HLEN", keys.outbox))


async def texts(herd: Oxherd, *queues: str) -> str:
    """All that is stored of some queues."""
    backend = await herd.backend()
    found: list[str] = []
    reads = [("HGETALL",), ("GET",), ("LRANGE", 0, -1), ("ZRANGE", 0, -1), ("SMEMBERS",), ("XRANGE", "-", "+")]
    for name in queues:
        keys = backend.queue_named(name).keys
        for key in await stored_keys(backend.queue_named(name)):
            for command, *rest in reads:
                try:
                    found.append(str(await backend.client.call(keys.slot, command, keys.base + key, *rest, quiet=True)))
                except ScriptError:
                    continue
    return "".join(found)


async def test_an_event_that_has_failed_for_good_is_told_once_with_all_that_is_known(
    herd: Oxherd, records: Records
) -> None:
    told = Told(herd)
    send_invoice = failing(herd, told, retry=Retry(attempts=3, delay=0.01))

    @herd.event("order.placed")
    async def order_placed(number: int) -> None:
        await send_invoice.emit(Invoice(number=number))

    async with herd:
        await herd.start()
        order = await order_placed.emit(9)
        (failure,) = await told.wait()
        await until(lambda: left_is_empty(herd))
        await records.wait("event.end", event="invoice.failed", outcome="completed")
    (begin, *_) = records.named("event.begin", event="invoice.send", attempt=3)
    assert (failure.event, str(failure.id)) == ("invoice.send", vars(begin)["event_id"])
    assert failure.payload == Invoice(number=9)
    assert failure.typed
    assert failure.error == ("ValueError", "no mail for ***")
    assert failure.attempts == 3
    assert failure.caused_by == failure.root == order.id
    assert failure.failed_at.tzinfo is not None
    (context,) = told.contexts
    assert (context.caused_by, context.root) == (failure.id, order.id)
    assert len(records.named("event.end", event="invoice.send", outcome="retrying")) == 2
    assert len(told.failures) == 1
    (shown,) = records.named("event.begin", event="invoice.failed")
    payload = vars(shown)["payload"]
    assert payload["payload"] == {"number": 9, "email": "a***@***", "card": "***", "customer": "a"}
    assert (payload["event"], payload["id"], payload["attempts"]) == ("invoice.send", str(failure.id), 3)
    assert payload["error"] == {"type": "ValueError", "message": "no mail for ***"}
    assert not records.named("queue.error")


async def left_is_empty(herd: Oxherd) -> bool:
    return await left(herd) == 0


@pytest.mark.parametrize("how", ["timed_out", "discarded"])
async def test_one_that_took_too_long_or_gave_itself_up_is_told(how: str, local_herd: Oxherd, records: Records) -> None:
    herd = local_herd
    told = Told(herd)

    @herd.event("invoice.send", on_failed=told.event, timeout=0.05, retry=Retry(attempts=1))
    async def send_invoice(invoice: Invoice) -> None:
        if how == "discarded":
            raise Discard("no such customer")
        await asyncio.sleep(60)

    async with herd:
        await herd.start()
        emitted = await send_invoice.emit(Invoice())
        (failure,) = await told.wait()
        await records.wait("event.end", event_id=emitted.id, outcome=how)
    assert (failure.id, failure.attempts) == (emitted.id, 1)
    assert failure.error.type == ("Discard" if how == "discarded" else "TimedOut")


async def test_what_is_sealed_is_opened_for_the_handler_and_readable_nowhere(herd: Oxherd, records: Records) -> None:
    told = Told(herd)
    send_invoice = failing(herd, told, seal=Keyring({"a": Keyring.generate()}))
    async with herd:
        await told.event.start()
        backend = await herd.backend()
        await send_invoice.start()
        await send_invoice.emit(Invoice())
        (failure,) = await told.wait()
        await records.wait("event.end", event="invoice.failed")
        stored = await texts(herd, "{invoice.send}", "{invoice.failed}")
        counts = await backend.queue_named("{invoice.send}").counts()
    assert counts["failed"] == 1
    assert failure.payload == Invoice()
    assert "oxherd:sealed" in stored
    assert CANARY not in stored
    assert CANARY not in "".join(str(vars(record)) for record in records.all)


def customer(failure: Failure[Invoice]) -> str:
    return failure.payload.customer


async def test_shards_on_both_sides(herd: Oxherd) -> None:
    told = Told(herd, shards=3, key=customer)
    send_invoice = failing(herd, told, shards=2)
    async with herd:
        await herd.start()
        await send_invoice.emit_many([Invoice(number=number, customer=str(number % 4)) for number in range(40)])
        failures = await told.wait(40)
        for queue in shard_queues("invoice.send", 2):
            await until(lambda queue=queue: empty(herd, queue))
        await send_invoice.stop()
        assert all([await failure.send_back() for failure in failures[:40]])
        backend = await herd.backend()
        waiting = [(await backend.queue_named(queue).counts())["wait"] for queue in shard_queues("invoice.send", 2)]
        assert sum(waiting) == 40
        assert min(waiting) > 0
    assert {failure.payload.number for failure in failures} == set(range(40))
    assert len(failures) == 40


async def empty(herd: Oxherd, queue: str) -> bool:
    return await left(herd, queue) == 0


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "removed"])
async def test_a_failed_event_is_sent_back_by_its_failure(kept: bool, herd: Oxherd, records: Records) -> None:
    told = Told(herd)
    mended = asyncio.Event()
    runs: list[tuple[int, int]] = []

    @herd.event("invoice.send", on_failed=told.event, retry=Retry(attempts=1), keep=Keep(failed=100 if kept else 0))
    async def send_invoice(invoice: Invoice, ctx: Context) -> None:
        runs.append((ctx.attempt, ctx.fence))
        if not mended.is_set():
            raise ValueError

    async with herd:
        await herd.start()
        emitted = await send_invoice.emit(Invoice(number=8))
        await told.wait()
        assert await told.failures[0].send_back()
        await told.wait(2)
        assert told.contexts[0].id != told.contexts[1].id
        mended.set()
        await send_invoice.stop()
        assert await told.failures[1].send_back()
        assert not await told.failures[1].send_back()
        assert not await told.failures[0].send_back()
        await send_invoice.start()
        await records.wait("event.end", event_id=emitted.id, outcome="completed")
    assert [failure.id for failure in told.failures] == [emitted.id] * 2
    assert runs == ([(1, 1), (1, 2), (1, 3)] if kept else [(1, 1)] * 3)


async def test_events_that_share_a_queue_have_each_their_own(make_herd: Callable[..., Oxherd], url: str) -> None:
    herd = make_herd(url)
    told = Told(herd, queue="{billing}")
    failing(herd, told, queue="{billing}")

    @herd.event("invoice.print", queue="{billing}", retry=Retry(attempts=1))
    async def print_invoice(invoice: Invoice) -> None:
        raise ValueError

    async with herd:
        await herd.start()
        await print_invoice.emit(Invoice(number=1))
        await herd["invoice.send"].emit(Invoice(number=2))
        (failure,) = await told.wait()
        assert failure.payload.number == 2
        await until(lambda: empty(herd, "{billing}"))
    assert len(told.failures) == 1


async def test_an_outbox_is_read_in_pages_and_holds_what_nobody_sends(herd: Oxherd) -> None:
    told = Told(herd)
    failing(herd, told)
    async with herd:
        backend = await herd.backend()
        keys = backend.queue_named("{invoice.send}").keys
        outbox = Outbox(backend.client, keys)
        ids = [str(uuid4()) for _ in range(600)]
        for each in ids:
            await backend.client.call(keys.slot, "HSET", keys.outbox, each, b"17 " + b"x" * 100)
        cursor, found = 0, set[str]()
        while True:
            cursor, entries = await outbox.scan(cursor, 32)
            found |= {entry.id for entry in entries}
            assert all(entry.message is None and entry.written_ms == 17 for entry in entries)
            if not cursor:
                break
        assert found == set(ids)
