"""`unique=`: what each rule promises, on each kind of server."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from oxherd import Debounce, Emitted, EventCancelled, EventExpired, Oxherd, Retry, Unique
from oxherd.bullmq.reprocess import reprocess
from tests.conformance.unique_events import Runs, Sync, began, declare, queue_of
from tests.harness import Records, until

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


async def test_an_expired_event_frees_its_key(herd: Oxherd) -> None:
    sync = declare(herd, Runs(), Unique(until="done"), expires=0.05)
    async with herd:
        first = await sync.emit(Sync())
        await asyncio.sleep(0.1)
        await herd.start()
        with pytest.raises(EventExpired):
            await first.result(10)
        assert not (await sync.emit(Sync())).duplicate
