"""`unique=`: one event for a key, on each kind of server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from oxherd import (
    Debounce,
    DeclarationError,
    Discard,
    Emitted,
    Event,
    EventCancelled,
    Every,
    Oxherd,
    Retry,
    Unique,
    UsageError,
)
from oxherd.bullmq.queue import BullQueue
from oxherd.bullmq.reprocess import reprocess
from oxherd.testing import captured, inline
from tests.harness import Records, until


class Sync(BaseModel):
    customer: str = "ann"
    number: int = 0
    does: Literal["return", "wait", "retry", "fail"] = "return"


def customer(sync: Sync) -> str:
    return sync.customer


class Runs:
    """What has run, and when those that wait may go on."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.go_on = asyncio.Event()

    async def process(self, sync: Sync) -> int:
        self.began.append(sync.number)
        if sync.does == "wait":
            await self.go_on.wait()
        if sync.does == "fail":
            raise Discard("as told")
        if sync.does == "retry" and self.began.count(sync.number) < 2:
            raise ValueError("again")
        return sync.number


def declare(herd: Oxherd, runs: Runs, unique: Unique | Debounce, **options: Any) -> Event[Sync, int]:
    async def process(sync: Sync) -> int:
        return await runs.process(sync)

    given: dict[str, Any] = {"key": customer, **options}
    return herd.event("customer.sync", unique=unique, **given)(process)


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["customer.sync"].declaration)


async def began(runs: Runs, count: int) -> None:
    await until(lambda: len(runs.began) >= count)


# -- until="done"


async def test_while_an_event_has_not_ended_its_key_makes_no_second(herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done"), retry=Retry(attempts=2, delay=0.5))
    async with herd:
        first = await sync.emit(Sync(number=1, does="wait"))
        waiting = await sync.emit(Sync(number=2))
        other = await sync.emit(Sync(customer="bob", number=3))
        await herd.start()
        await began(runs, 2)
        running = await sync.emit(Sync(number=4))
        assert [each.duplicate for each in (first, waiting, other, running)] == [False, True, False, True]
        assert first.id == waiting.id == running.id
        runs.go_on.set()
        assert await running.result(10) == 1
        again = await sync.emit(Sync(number=5, does="retry"))
        assert not again.duplicate
        await records.wait("event.end", outcome="retrying")
        assert (await sync.emit(Sync(number=6))).id == again.id
        assert await again.result(10) == 5
        failed = await sync.emit(Sync(number=7, does="fail"))
        await records.wait("event.end", outcome="discarded", event_id=failed.id)
        last = await sync.emit(Sync(number=8))
        assert not last.duplicate
        assert await last.result(10) == 8
    assert sorted({*runs.began}) == [1, 3, 5, 7, 8]


async def test_a_delayed_and_a_prioritized_event_hold_their_keys_as_well(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"))
    async with herd:
        hows: dict[str, Any] = {"late": {"delay": 60}, "first": {"priority": 3}}
        others: list[Any] = [{}, {"delay": 1}, {"priority": 1}]
        for name, how in hows.items():
            first = await sync.emit(Sync(customer=name), **how)
            again = [await sync.emit(Sync(customer=name), **each) for each in others]
            assert {each.id for each in again} == {first.id}
        counts = await (await queue_of(herd)).counts()
        assert (counts["wait"], counts["delayed"], counts["prioritized"]) == (0, 1, 1)


async def test_an_operators_retry_does_not_take_the_key_again(herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        await herd.start()
        failed = await sync.emit(Sync(number=1, does="fail"))
        await records.wait("event.end", outcome="discarded")
        holder = await sync.emit(Sync(number=2, does="wait"))
        await began(runs, 2)
        follower = await sync.emit(Sync(number=3))
        assert await reprocess(await queue_of(herd), str(failed.id)) == 1
        await records.wait("event.end", count=2, outcome="discarded")
        # The follower has not begun beside the event that it follows.
        assert runs.began == [1, 2, 1]
        assert (await sync.emit(Sync(number=4))).id == follower.id
        runs.go_on.set()
        assert await follower.result(10) == 4
        assert await holder.result(10) == 2


# -- keep_last


async def test_keep_last_gives_one_that_has_not_begun_the_last_payload(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        first = await sync.emit(Sync(number=1))
        last = [await sync.emit(Sync(number=number)) for number in (2, 3)]
        assert all(each.duplicate and each.id == first.id for each in last)
        await herd.start()
        assert await first.result(10) == 3
    assert runs.began == [3]


async def test_keep_last_has_one_that_runs_followed_by_one_with_the_last_payload(
    herd: Oxherd, records: Records
) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"))
        await began(runs, 1)
        follower = await sync.emit(Sync(number=2))
        last = await sync.emit(Sync(number=3))
        assert (follower.duplicate, last.duplicate) == (False, True)
        assert first.id != follower.id == last.id
        status = await follower.status()
        assert status is not None
        assert status.state == "waiting"
        # Asked for before it is on any list: the answer is not missed.
        answer = asyncio.create_task(follower.result(10))
        assert not (await sync.emit(Sync(customer="bob", number=9))).duplicate
        runs.go_on.set()
        assert await first.result(10) == 1
        assert await answer == 3
        assert not (await sync.emit(Sync(number=4))).duplicate
        await records.wait("event.end", count=4, outcome="completed")
    assert sorted(runs.began) == [1, 3, 4, 9]


@pytest.mark.parametrize("how", [{"delay": 0.2}, {"priority": 3}, {"once": 60}], ids=["delayed", "prioritized", "once"])
async def test_what_follows_has_its_own_emits_options(how: dict[str, Any], herd: Oxherd) -> None:
    runs, event_id = Runs(), uuid4()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"))
        await began(runs, 1)
        follower = await sync.emit(Sync(number=2), id=event_id, **how)
        assert not follower.duplicate
        assert (await sync.emit(Sync(number=3), id=event_id, **how)).duplicate
        runs.go_on.set()
        assert await first.result(10) == 1
        assert await follower.result(10) == 2
        assert (await sync.emit(Sync(number=4), id=event_id, **how)).duplicate == ("once" in how)


async def test_keep_last_does_not_change_what_is_tried_again(herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True), retry=Retry(attempts=2, delay=0.3))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="retry"))
        await records.wait("event.end", outcome="retrying")
        follower = await sync.emit(Sync(number=2))
        assert not follower.duplicate
        assert await first.result(10) == 1
        assert await follower.result(10) == 2
    assert runs.began == [1, 1, 2]


# -- within


async def test_within_a_time_of_its_emit_a_key_makes_no_second_even_if_the_first_has_ended(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(within=timedelta(minutes=1)))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1))
        assert await first.result(10) == 1
        again = await sync.emit(Sync(number=2))
        assert (again.duplicate, again.id) == (True, first.id)
        queue = await queue_of(herd)
        (key,) = await queue.client.call(queue.keys.slot, "KEYS", queue.keys.base.replace("{", "\\{") + "de:*")
        assert 50_000 < await queue.client.call(queue.keys.slot, "PTTL", key) <= 60_000
        await queue.client.call(queue.keys.slot, "DEL", key)
        assert not (await sync.emit(Sync(number=3))).duplicate
        await began(runs, 2)


async def test_within_ends_with_its_time_although_the_first_still_waits(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(within=0.2))
    async with herd:
        first = await sync.emit(Sync(number=1))

        async def next_one() -> Emitted[int] | None:
            emitted = await sync.emit(Sync(number=2))
            return None if emitted.duplicate else emitted

        assert (await until(next_one)).id != first.id
        assert (await (await queue_of(herd)).counts())["wait"] == 2


# -- Debounce


async def test_a_debounced_event_keeps_its_id_and_gets_the_last_payload_and_due_time(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Debounce(wait=0.6, at_most=60))
    async with herd:
        await herd.start()
        began_at = time.monotonic()
        emits = [await sync.emit(Sync(number=1))]
        for number in (2, 3, 4):
            await asyncio.sleep(0.3)
            emits.append(await sync.emit(Sync(number=number)))
        assert [each.duplicate for each in emits] == [False, True, True, True]
        assert len({each.id for each in emits}) == 1
        assert await emits[0].result(10) == 4
        assert time.monotonic() - began_at > 1.4
        assert not (await sync.emit(Sync(number=5))).duplicate
        await began(runs, 2)
    assert runs.began == [4, 5]


async def test_a_debounced_event_is_due_at_the_latest_when_it_is_told(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Debounce(wait=0.5, at_most=1))
    async with herd:
        await herd.start()
        start = time.monotonic()
        number = 0
        while not runs.began:
            await sync.emit(Sync(number=number))
            number += 1
            await asyncio.sleep(0.1)
            assert time.monotonic() - start < 5
        assert time.monotonic() - start > 0.9
        assert runs.began[0] > 3


async def test_a_debounced_event_that_waits_for_a_worker_gets_the_last_payload_in_its_place(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Debounce(wait=0.1), concurrency=1)
    async with herd:
        await herd.start()
        busy = await sync.emit(Sync(customer="busy", does="wait"))
        await began(runs, 1)
        first = await sync.emit(Sync(number=1))
        await asyncio.sleep(0.3)  # it is due, and no slot is free
        assert (await sync.emit(Sync(number=2))).id == first.id
        runs.go_on.set()
        assert await first.result(10) == 2
        assert await busy.result(10) == 0


async def test_while_a_debounced_event_runs_the_next_emit_makes_another(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Debounce(wait=0.1))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"))
        await began(runs, 1)
        second = await sync.emit(Sync(number=2))
        assert (second.duplicate, (await sync.emit(Sync(number=3))).id) == (False, second.id)
        assert await second.result(10) == 3
        runs.go_on.set()
        assert await first.result(10) == 1
    assert runs.began == [1, 3]


# -- cancelled


async def test_what_is_cancelled_while_it_waits_frees_its_key(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"))
    async with herd:
        first = await sync.emit(Sync(), delay=60)
        assert await first.cancel()
        assert not (await sync.emit(Sync())).duplicate


async def test_what_is_to_follow_can_be_cancelled_and_then_does_not(herd: Oxherd, records: Records) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"))
        await began(runs, 1)
        follower = await sync.emit(Sync(number=2))
        assert await follower.cancel("no more")
        with pytest.raises(EventCancelled):
            await follower.result(10)
        another = await sync.emit(Sync(number=3))
        assert not another.duplicate
        runs.go_on.set()
        assert await first.result(10) == 1
        assert await another.result(10) == 3
    assert runs.began == [1, 3]


@pytest.mark.parametrize("how", [{}, {"delay": 0.2}, {"priority": 3}], ids=["at once", "delayed", "prioritized"])
async def test_what_is_to_follow_begins_if_the_other_is_cancelled_before_its_retry(
    how: dict[str, Any], herd: Oxherd, records: Records
) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True), retry=Retry(attempts=2, delay=60))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="retry"))
        await records.wait("event.end", outcome="retrying")
        follower = await sync.emit(Sync(number=2), **how)
        assert await first.cancel()
        assert await follower.result(10) == 2
        assert not (await sync.emit(Sync(number=4))).duplicate


async def test_a_cancelled_run_is_followed_as_any_other(herd: Oxherd) -> None:
    runs = Runs()
    sync = declare(herd, runs, Unique(until="done", keep_last=True))
    async with herd:
        await herd.start()
        first = await sync.emit(Sync(number=1, does="wait"))
        await began(runs, 1)
        follower = await sync.emit(Sync(number=2))
        assert await first.cancel()
        assert await follower.result(10) == 2


# -- what each kind shares


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
