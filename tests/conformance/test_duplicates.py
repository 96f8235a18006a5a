"""What all rules of `unique=` share, and `Emitted.duplicate`, on each kind of server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from oxherd import Debounce, DeclarationError, Every, Keyring, Oxherd, Retry, Unique, UsageError
from oxherd.servers.standalone import StandaloneServer
from oxherd.testing import captured, inline, run_until_empty
from tests.conformance.unique_events import Runs, Sync, began, customer, declare, queue_of
from tests.harness import Records, until


@pytest.mark.parametrize(
    ("unique", "ran"),
    [
        (Unique(until="done"), [0, 1, 2]),
        (Unique(until="done", keep_last=True), [117, 118, 119]),
        (Unique(within=60), [0, 1, 2]),
        (Debounce(wait=0.5), [117, 118, 119]),
    ],
    ids=["done", "last", "within", "debounce"],
)
async def test_many_with_few_keys_make_one_event_each(
    unique: Unique | Debounce, ran: list[int], herd: Oxherd, records: Records
) -> None:
    runs = Runs()
    sync = declare(herd, runs, unique)
    async with herd:
        emits = await sync.emit_many([Sync(customer=f"c{number % 3}", number=number) for number in range(120)])
        assert [each.duplicate for each in emits] == [False] * 3 + [True] * 117
        assert [each.id for each in emits] == [each.id for each in emits[:3]] * 40
        await herd.start()
        await records.wait("event.end", count=3, outcome="completed")
        assert sum((await (await queue_of(herd)).counts()).values()) == 0
    assert sorted(runs.began) == ran


async def test_emits_at_the_same_moment_make_one_event(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"))
    async with herd:
        emits = await asyncio.gather(*(sync.emit(Sync()) for _ in range(40)))
        assert sum(not each.duplicate for each in emits) == 1
        assert len({each.id for each in emits}) == 1


async def test_emits_without_an_event_loop_say_it_too(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"))
    first = await asyncio.to_thread(sync.emit_sync, Sync())
    again, other = await asyncio.to_thread(sync.emit_many_sync, [Sync(), Sync(customer="bob")])
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.id == first.id
    await asyncio.to_thread(herd.close_sync)


@pytest.mark.parametrize("how", [{}, {"delay": 60}, {"priority": 3}], ids=["at once", "delayed", "prioritized"])
async def test_once_and_a_known_id_say_that_they_made_no_second(how: dict[str, Any], herd: Oxherd) -> None:
    event = herd.declare("customer.sync", Sync)
    event_id = uuid4()
    async with herd:
        first = await event.emit(Sync(), id=event_id, once=60, **how)
        stored = await event.emit(Sync(), id=event_id, **how)
        marked = await event.emit(Sync(), id=event_id, once=60, **how)
        queue = await queue_of(herd)
        await queue.client.call(queue.keys.slot, "DEL", queue.keys.job(str(event_id)))
        gone = await event.emit(Sync(), id=event_id, once=60, **how)
        assert [each.duplicate for each in (first, stored, marked, gone)] == [False, True, True, True]
        assert {each.id for each in (first, stored, marked, gone)} == {event_id}
        at_once = await asyncio.gather(*(event.emit(Sync(), id=each) for each in (event_id, uuid4(), event_id)))
        assert [each.duplicate for each in at_once] == [False, False, True]


async def test_once_and_unique_hold_together(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done"), once=60)
    event_id = uuid4()
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"), id=event_id)
        await began(runs, 1)
        by_key, by_id = await sync.emit(Sync(number=2)), await sync.emit(Sync(customer="bob"), id=event_id)
        assert (by_key.id, by_id.id, by_key.duplicate, by_id.duplicate) == (event_id, event_id, True, True)
        runs.go_on.set()
        assert await first.result(10) == 1
        # The key is free; the id is not.
        assert (await sync.emit(Sync(number=3), id=event_id)).duplicate
        assert await (await sync.emit(Sync(number=4))).result(10) == 4
    assert runs.began == [1, 4]


async def test_events_of_one_queue_are_unique_each_for_itself(herd: Oxherd) -> None:
    names = ("customer.sync", "customer.mail")
    events = [herd.declare(name, Sync, queue="{crm}", key=customer, unique=Unique(until="done")) for name in names]
    async with herd:
        emits = [await event.emit(Sync()) for event in events * 2]
        assert [each.duplicate for each in emits] == [False, False, True, True]


@pytest.mark.parametrize("kind", ["done", "debounce"])
async def test_shards_keep_a_keys_events_together(kind: str, herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done") if kind == "done" else Debounce(wait=0.3), shards=4)
    async with herd:
        emits = await sync.emit_many([Sync(customer=f"c{number % 8}", number=number) for number in range(16)])
        assert [each.duplicate for each in emits] == [False] * 8 + [True] * 8
        await herd.start()
        await records.wait("event.end", count=8, outcome="completed")
    assert sorted(runs.began) == (list(range(8)) if kind == "done" else list(range(8, 16)))


async def test_a_key_of_none_makes_an_event_each_time_and_by_wins_over_the_key(herd: Oxherd) -> None:
    unique = Unique(until="done", by=lambda sync: sync.number or None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
    sync = declare(herd, Runs(), unique)
    async with herd:
        emits = [await sync.emit(Sync(number=number)) for number in (0, 0, 1, 1)]
        assert [each.duplicate for each in emits] == [False, False, False, True]


async def test_keys_are_in_redis_as_hashes_only(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done", keep_last=True), sanitize=lambda sync: sync.number)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
    async with herd:
        await sync.emit(Sync(customer="secret-customer"))
        queue = await queue_of(herd)
        names: list[bytes] = await queue.client.call(queue.keys.slot, "KEYS", queue.keys.base.replace("{", "\\{") + "*")
        (held,) = [name for name in names if b":de:" in name]
        assert len(held.rpartition(b":")[2]) == 64
        assert not any(b"secret" in name for name in names)
        stream = await queue.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
        assert b"secret" not in repr(stream).encode()


async def test_a_schedules_ticks_are_not_held_to_be_unique(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done"))
    async with herd:
        await herd.start()
        holder = await sync.emit(Sync(number=1, does="wait"))
        await sync.schedule("often", Every(0.5), Sync(number=2))
        await until(lambda: runs.began.count(2) >= 2)
        assert (await sync.emit(Sync(number=3))).id == holder.id
        await sync.unschedule("often")
        runs.go_on.set()


async def test_what_was_not_added_is_told_to_nodes_listeners(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"))
    async with herd:
        first = await sync.emit(Sync())
        await sync.emit(Sync())
        queue = await queue_of(herd)
        stream = await queue.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
        told = [dict(zip(entry[::2], entry[1::2], strict=True)) for _, entry in stream]
        (refused,) = [entry for entry in told if entry[b"event"] == b"deduplicated"]
        assert refused[b"jobId"] == str(first.id).encode()
        assert UUID(refused[b"deduplicatedJobId"].decode()) != first.id


def test_what_is_captured_or_run_inline_is_not_held_to_be_unique(local_herd: Oxherd) -> None:
    async def process(sync: Sync) -> int:
        return sync.number

    sync = local_herd.event("customer.sync", unique=Unique(until="done"), key=customer)(process)
    with captured(local_herd) as kept:
        assert not any(sync.emit_sync(Sync()).duplicate for _ in range(2))
    assert len(kept.emits) == 2
    with inline(local_herd) as ran:
        assert not any(each.duplicate for each in sync.emit_many_sync([Sync(), Sync()]))
    assert len(ran.emits) == 2


# -- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Unique(), "one of until"),
        (lambda: Unique(until="done", within=1), "one of until"),
        (lambda: Unique(until="begun"), 'must be "done"'),  # type: ignore[arg-type]
        (lambda: Unique(within=1, keep_last=True), "Debounce"),
        (lambda: Unique(within=0), r"within.*at least 0\.001"),
        (lambda: Unique(within="60"), "within"),  # type: ignore[arg-type]
        (lambda: Unique(until="done", keep_last=1), "True or False"),  # type: ignore[arg-type]
        (lambda: Debounce(wait=0), "wait"),
        (lambda: Debounce(wait=5, at_most=1), r"at_most.*at least 5"),
        (lambda: Debounce(wait=True), "wait"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        make()


async def _async_key(sync: Sync) -> str:
    return sync.customer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unique": Unique(until="done"), "key": None}, "by=, or the event a key="),
        ({"unique": "done"}, r"Unique\(\.\.\.\) or a Debounce"),
        ({"unique": Unique(until="done", by=_async_key)}, "plain function"),
        ({"unique": Unique(until="done", by=lambda: "a")}, "one argument"),  # type: ignore[misc]
        ({"unique": Unique(until="done", by=lambda _: "a"), "shards": 2}, "the event's key"),
        ({"unique": Unique(until="done", by=lambda _: "a"), "shards": 2, "key": None}, "the event's key"),
        ({"unique": Unique(until="done", keep_last=True), "ordered": True}, "keep_last"),
        ({"unique": Debounce(wait=5), "ordered": True}, "Debounce"),
        ({"unique": Debounce(wait=5), "expires": 50}, "expires"),
    ],
)
def test_a_declaration_that_contradicts_its_rule_is_refused(
    options: dict[str, Any], words: str, local_herd: Oxherd
) -> None:
    given: dict[str, Any] = {"key": customer, **options}
    with pytest.raises(DeclarationError, match=words):
        local_herd.declare("customer.sync", Sync, **given)


async def test_an_emit_that_contradicts_the_rule_sends_nothing(local_herd: Oxherd) -> None:
    fails = Unique(until="done", by=lambda sync: 1 / sync.number)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
    sync = local_herd.declare("customer.sync", Sync, key=customer, unique=Debounce(wait=5))
    other = local_herd.declare("customer.other", Sync, unique=fails)
    async with local_herd:
        with pytest.raises(UsageError, match="leave delay and at out"):
            await sync.emit(Sync(), delay=1)
        with pytest.raises(UsageError, match="its by function raised ZeroDivisionError"):
            await other.emit_many([Sync(number=0), Sync(number=1)])
        with pytest.raises(UsageError, match="its by function returned a float"):
            await other.emit(Sync(number=2))
        assert sum((await (await queue_of(local_herd)).counts()).values()) == 0


async def test_a_sealed_payload_is_unique_by_what_is_in_it_and_durable_ones_are_as_others(
    make_herd: Callable[..., Oxherd],
) -> None:
    keyring = Keyring({"k": b"k" * 32})
    with StandaloneServer(settings={"appendonly": "yes"}) as server:
        herd = make_herd(server.url)
        options: dict[str, Any] = {"seal": keyring, "durable": True}
        sync = declare(herd, Runs(), Unique(until="done", keep_last=True), **options)
        async with herd:
            first, again, other = await sync.emit_many([Sync(), Sync(number=2), Sync(customer="bob")])
            assert (again.id, again.duplicate, other.duplicate) == (first.id, True, False)
            await herd.start()
            assert await first.result(10) == 2


async def test_run_until_empty_skips_to_where_a_debounced_event_is_due(local_herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(local_herd, runs, Debounce(wait=3600))
    async with local_herd:
        await sync.emit_many([Sync(number=1), Sync(number=2)])
        await run_until_empty(local_herd, timeout=20)
    assert runs.began == [2]


async def test_an_ordered_event_may_be_unique_until_it_is_done(herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done"), ordered=True, retry=Retry(attempts=2, delay=0.1))
    async with herd:
        names = ("a", "b", "a", "c", "b")
        payloads = [Sync(customer=name, number=number, does="retry") for number, name in enumerate(names)]
        emits = await sync.emit_many(payloads)
        assert [each.duplicate for each in emits] == [False, False, True, False, True]
        await herd.start()
        await records.wait("event.end", count=3, outcome="completed")
    assert runs.began == [0, 0, 1, 1, 3, 3]
