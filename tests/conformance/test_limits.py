"""`rate`, `max_running` and `RateLimited`: never over, nearly all of what is allowed, and begun when the turn comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from oxherd import (
    Context,
    DeclarationError,
    Event,
    Limits,
    Oxherd,
    OxherdError,
    Rate,
    RateLimited,
    Retry,
    Snooze,
    UsageError,
)
from oxherd.bullmq.queue import BullQueue
from oxherd.testing import captured, run_until_empty
from tests.harness import Records, until

MakeHerd = Callable[..., Oxherd]


async def queue_of(herd: Oxherd, name: str = "order.placed") -> BullQueue:
    return (await herd.backend()).queue(herd[name].declaration)


async def happened(herd: Oxherd, *kinds: str, name: str = "order.placed") -> list[tuple[float, str]]:
    """When events of these kinds happened to a queue's jobs, by the server's clock (seconds), in order."""
    queue = await queue_of(herd, name)
    entries: list[Any] = await queue.client.call(queue.keys.slot, "XRANGE", queue.keys.events, "-", "+")
    found: list[tuple[float, str]] = []
    for entry_id, fields in entries:
        kind = bytes(fields[fields.index(b"event") + 1]).decode()
        if kind in kinds:
            found.append((int(bytes(entry_id).split(b"-")[0]) / 1000, kind))
    return found


async def begins(herd: Oxherd, name: str = "order.placed") -> list[float]:
    return [at for at, _ in await happened(herd, "active", name=name)]


def in_windows(begun: list[float], per: float) -> list[tuple[float, int]]:
    """Each window, which its first begin opens: when, and how many began in it."""
    windows: list[tuple[float, int]] = []
    for at in begun:
        # A window's end is an expiry in whole milliseconds.
        if windows and at < windows[-1][0] + per - 0.0015:
            windows[-1] = (windows[-1][0], windows[-1][1] + 1)
        else:
            windows.append((at, 1))
    return windows


# -- measured over two workers


async def test_two_workers_begin_what_a_rate_allows_and_never_more(
    url: str, make_herd: MakeHerd, records: Records
) -> None:
    count, per, windows = 40, 1.0, 5
    herds = [make_herd(url), make_herd(url)]
    for each in herds:

        @each.event("order.placed", rate=Rate(count, per=per))
        async def placed(number: int) -> None: ...

    async with herds[0], herds[1]:
        await asyncio.gather(*(each.start() for each in herds))
        await cast("Event[int, None]", herds[0]["order.placed"]).emit_many(range(count * windows))
        await records.wait("event.end", count=count * windows)
        found = in_windows(await begins(herds[0]), per)
    assert [number for _, number in found] == [count] * windows
    took = found[-1][0] - found[0][0]
    assert (windows - 1) * per / took >= 0.95, took


async def test_two_workers_run_as_many_at_once_as_are_allowed_and_never_more(
    url: str, make_herd: MakeHerd, records: Records
) -> None:
    most, each_takes, count = 4, 0.2, 60
    herds = [make_herd(url), make_herd(url)]
    for each in herds:

        @each.event("order.placed", max_running=most)
        async def placed(number: int) -> None:
            await asyncio.sleep(each_takes)

    async with herds[0], herds[1]:
        await asyncio.gather(*(each.start() for each in herds))
        await cast("Event[int, None]", herds[0]["order.placed"]).emit_many(range(count))
        await records.wait("event.end", count=count)
        steps = await happened(herds[0], "active", "completed")
    running, busy, highest = 0, 0.0, 0
    last_begin = max(at for at, kind in steps if kind == "active")
    for (at, kind), (then, _) in pairwise(steps):
        running += 1 if kind == "active" else -1
        highest = max(highest, running)
        if at < last_begin:
            busy += running * (then - at)
    assert highest == most
    assert busy / (most * (last_begin - steps[0][0])) >= 0.95


async def test_both_limits_hold_together(herd: Oxherd, records: Records) -> None:
    running: list[int] = []

    @herd.event("order.placed", rate=Rate(6, per=0.5), max_running=2)
    async def placed(number: int) -> None:
        running.append(number)
        assert len(running) <= 2
        await asyncio.sleep(0.02)
        running.remove(number)

    async with herd:
        await placed.emit_many(range(18))
        await herd.start()
        await records.wait("event.end", count=18, outcome="completed")
        assert all(number <= 6 for _, number in in_windows(await begins(herd), 0.5))


async def test_each_begin_counts_that_of_another_attempt_too_and_costs_no_attempt(
    herd: Oxherd, records: Records
) -> None:
    attempts: list[int] = []

    @herd.event("order.placed", rate=Rate(2, per=0.3), retry=Retry(attempts=2, delay=0))
    async def placed(number: int, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ConnectionError

    async with herd:
        await placed.emit_many(range(3))
        await herd.start()
        await records.wait("event.end", count=3, outcome="completed")
        assert [number for _, number in in_windows(await begins(herd), 0.3)] == [2, 2, 2]
    assert sorted(attempts) == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("ends", ["completed", "retrying", "snoozed", "failed", "stopped"])
async def test_room_is_taken_at_once_by_a_worker_that_is_idle(
    url: str, make_herd: MakeHerd, records: Records, ends: str
) -> None:
    """However the run ends that made it, and though its own worker takes nothing more."""
    one, other = make_herd(url), make_herd(url)
    end = asyncio.Event()

    @one.event("order.placed", max_running=1, retry=Retry(attempts=2, delay=60 if ends == "retrying" else 0))
    async def first(number: int, ctx: Context) -> None:
        await end.wait()
        if ends == "snoozed":
            raise Snooze(60)
        if ends in ("retrying", "failed"):
            raise ConnectionError

    @other.event("order.placed", max_running=1)
    async def second(number: int) -> None: ...

    async with one, other:
        await one.start()
        await first.emit(1)
        await records.wait("event.begin")
        await other.start()
        await first.emit(2)
        await until(lambda: waits(one, 1))
        stopping = asyncio.create_task(one.stop(0 if ends == "stopped" else None))
        await asyncio.sleep(0.1)
        if ends != "stopped":
            end.set()
        began = time.monotonic()
        await records.wait("event.begin", count=2, deadline=2)
        assert time.monotonic() - began < 1
        await stopping


async def waits(herd: Oxherd, count: int) -> bool:
    counts = await (await queue_of(herd)).counts()
    return counts["wait"] + counts["prioritized"] == count


# -- set at run time


async def test_limits_that_are_set_hold_at_once_and_for_all_workers(
    url: str, make_herd: MakeHerd, records: Records
) -> None:
    declaring, working = make_herd(url), make_herd(url)
    placed = declaring.declare("order.placed", int)

    @working.event("order.placed", rate=Rate(2, per=60))
    async def worked(number: int) -> None: ...

    async with declaring, working:
        await working.start()
        await placed.emit_many(range(10))
        await records.wait("event.end", count=2)
        assert await placed.limits() == Limits(Rate(2, per=60), None, None)
        began = time.monotonic()
        await placed.set_limits(rate=Rate(4, per=0.5))
        await records.wait("event.end", count=10)
        assert time.monotonic() - began < 3
        # Two more may begin in the window of the first two, which ends half a second after the change at the latest.
        begun = await begins(working)
        assert begun[-1] - begun[2] >= 0.49
        assert begun[6] - begun[2] >= 0.49 or begun[8] - begun[4] >= 0.49
        assert await placed.limits() == Limits(rate=Rate(4, per=0.5))
        await placed.set_limits(max_running=3)
        assert await placed.limits() == Limits(Rate(4, per=0.5), 3)
        await placed.set_limits(rate=None)
        assert await placed.limits() == Limits(None, 3)
        await placed.set_limits(max_running=None)
        assert await placed.limits() == Limits()


async def test_a_wider_or_ended_limit_of_what_runs_is_taken_at_once(herd: Oxherd, records: Records) -> None:
    end = asyncio.Event()

    @herd.event("order.placed", max_running=1)
    async def placed(number: int) -> None:
        await end.wait()

    async with herd:
        await herd.start()
        await placed.emit_many(range(8))
        await records.wait("event.begin")
        await placed.set_limits(max_running=3)
        await records.wait("event.begin", count=3, deadline=2)
        assert not await waits(herd, 0)
        await placed.set_limits(max_running=None)
        await records.wait("event.begin", count=8, deadline=2)
        end.set()
        await records.wait("event.end", count=8)


async def test_what_is_set_stays_until_the_declaration_changes_each_limit_by_itself(
    url: str, make_herd: MakeHerd, records: Records
) -> None:
    async def started_with(**limits: Any) -> Limits:
        herd = make_herd(url)

        @herd.event("order.placed", **limits)
        async def placed(number: int) -> None: ...

        async with herd:
            await herd.start()
            emitted = await placed.emit(1)
            await emitted.result(timeout=10)
            return await placed.limits()

    assert await started_with() == Limits()
    assert await started_with(rate=Rate(100, per=1)) == Limits(Rate(100, per=1))
    other = make_herd(url)
    placed = other.declare("order.placed", int)
    async with other:
        await placed.set_limits(rate=Rate(50, per=timedelta(seconds=1)), max_running=7)
        assert await started_with(rate=Rate(100, per=1)) == Limits(Rate(50, per=1), 7)
        assert await started_with(rate=Rate(100, per=1), max_running=9) == Limits(Rate(50, per=1), 9)
        assert await started_with(rate=Rate(60, per=1), max_running=9) == Limits(Rate(60, per=1), 9)
        assert await started_with(max_running=9) == Limits(None, 9)
        assert await started_with() == Limits()
        await placed.set_limits(max_running=2)
        assert await started_with() == Limits(None, 2)


def test_they_are_set_and_read_from_code_without_an_event_loop(url: str, make_herd: MakeHerd) -> None:
    herd = make_herd(url)
    placed = herd.declare("order.placed", int)
    placed.set_limits_sync(rate=Rate(5, per=2.5), max_running=4)
    assert placed.limits_sync() == Limits(Rate(5, per=2.5), 4)


async def test_what_cannot_be_set_is_refused_with_a_sentence(local_herd: Oxherd) -> None:
    herd = local_herd
    placed = herd.declare("order.placed", int)
    spread = herd.declare("order.spread", int, shards=2)
    one = herd.declare("order.one", int, queue="orders")
    same = herd.declare("order.same", int, queue="{order.home}")
    home = herd.declare("order.home", int)
    anything: Any = placed
    async with herd:
        with pytest.raises(UsageError, match=r"^order\.placed: set_limits sets nothing; pass rate=, max_running="):
            await placed.set_limits()
        with pytest.raises(DeclarationError, match=r"^order\.placed: there is no option 'rates'; did you mean 'rate'"):
            await anything.set_limits(rates=Rate(1, per=1))
        with pytest.raises(DeclarationError, match=r"^order\.placed: rate must be a Rate\(count, per=seconds\)\.$"):
            await anything.set_limits(rate=5)
        for wrong in (0, -1, 1.5, True, "3"):
            with pytest.raises(DeclarationError, match=r"^order\.placed: max_running"):
                await anything.set_limits(max_running=wrong)
        with pytest.raises(
            UsageError, match=r"^order\.spread: with shards, rate would hold for each shard; use per_key"
        ):
            await spread.set_limits(rate=Rate(1, per=1))
        assert await spread.limits() == Limits()
        for event in (one, same, home):
            with pytest.raises(UsageError, match=r"max_running would hold for all events of its queue; give it"):
                await event.set_limits(max_running=1)
        with pytest.raises(UsageError, match="event loop"):
            placed.set_limits_sync(max_running=1)


async def test_damage_is_named(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int)
    async with local_herd:
        queue = await queue_of(local_herd)
        call, k = queue.client.call, queue.keys
        for value in ("many", "0", "1.5"):
            await call(k.slot, "HSET", k.meta, "max", value, "duration", 1000)
            with pytest.raises(OxherdError, match=r"^order\.placed: its limits in Redis are no numbers .* set_limits"):
                await placed.limits()
        await placed.set_limits(rate=Rate(3, per=1))
        assert await placed.limits() == Limits(Rate(3, per=1))
        await call(k.slot, "DEL", k.meta)
        await call(k.slot, "SET", k.meta, "damaged")
        with pytest.raises(OxherdError, match=r"^order\.placed: its limits cannot be read .*; mend that key\.$"):
            await placed.limits()
        with pytest.raises(OxherdError, match=r"^order\.placed: its limits cannot be set .*; mend that key, and call"):
            await placed.set_limits(max_running=1)


async def test_a_test_kit_that_keeps_the_emits_ignores_what_is_set(local_herd: Oxherd) -> None:
    placed = local_herd.declare("order.placed", int, max_running=3)
    with captured(local_herd):
        await placed.set_limits(max_running=9)
        assert await placed.limits() == Limits(max_running=3)


async def test_run_until_empty_skips_windows_and_rests(herd: Oxherd) -> None:
    @herd.event("order.placed", rate=Rate(2, per=3600))
    async def placed(number: int, ctx: Context) -> None:
        if number == 3 and ctx.fence == 1:
            raise RateLimited(3600)

    async with herd:
        await placed.emit_many(range(5))
        ended = await run_until_empty(herd, timeout=10)
    assert [each.outcome for each in ended].count("completed") == 5


# -- somebody else's limit


@pytest.mark.parametrize("limits", [{}, {"rate": Rate(50, per=0.2)}, {"rate": Rate(50, per=60)}, {"max_running": 2}])
async def test_an_event_rests_for_all_workers_and_its_job_goes_first_at_no_attempt(
    url: str, make_herd: MakeHerd, records: Records, limits: dict[str, Any]
) -> None:
    herds = [make_herd(url), make_herd(url)]
    runs: list[tuple[int, int, int]] = []
    for each in herds:

        @each.event("order.placed", concurrency=1, retry=Retry(attempts=1), **limits)
        async def placed(number: int, ctx: Context) -> None:
            runs.append((number, ctx.attempt, ctx.fence))
            if number == 1 and ctx.fence == 1:
                raise RateLimited(0.7, "the API said 429")

    async with herds[0], herds[1]:
        placed = cast("Event[int, None]", herds[0]["order.placed"])
        await herds[0].start()
        first = await placed.emit(1)
        (rested,) = await records.wait("event.end", outcome="retrying", event_id=first.id)
        assert (vars(rested)["error"]["message"], vars(rested)["retry_in_ms"]) == ("the API said 429", 700)
        await herds[1].start()
        await placed.emit_many(range(2, 10))
        await placed.emit(10, priority=1)
        await records.wait("event.end", count=10, outcome="completed")
        begun = await begins(herds[0])
    assert runs[0] == (1, 1, 1)
    assert (1, 1, 2) in runs[1:3]  # beside the other worker's first
    assert 0.695 <= begun[1] - begun[0] < 1.2
    assert begun[-1] - begun[1] < 1


async def test_what_ends_meanwhile_brings_no_next(herd: Oxherd, records: Records) -> None:
    others = asyncio.Event()

    @herd.event("order.placed", concurrency=8)
    async def placed(number: int, ctx: Context) -> None:
        if number == 7 and ctx.fence == 1:
            raise RateLimited(0.8)
        if number < 7:
            await others.wait()
            if number == 5 and ctx.fence == 1:
                raise ValueError

    async with herd:
        await placed.emit_many(range(30))
        await herd.start()
        await records.wait("event.end", outcome="retrying")
        others.set()
        await records.wait("event.end", count=30, outcome="completed")
        begun = await begins(herd)
    assert begun[8] - begun[7] >= 0.79


async def test_a_longer_rest_is_never_shortened_and_a_windows_count_is_kept(herd: Oxherd) -> None:
    herd.declare("order.placed", int)
    async with herd:
        queue = await queue_of(herd)
        k = queue.keys

        async def left(key: str) -> int:
            return int(await queue.client.call(k.slot, "PTTL", key))

        await queue.rest(60_000)
        await queue.rest(1_000)
        assert 59_000 < await left(k.rest) <= 60_000
        assert await left(k.limiter) < 0  # no rate, so Node's workers do not look at it
        await queue.client.call(k.slot, "HSET", k.meta, "max", 10, "duration", 90_000)
        await queue.client.call(k.slot, "SET", k.limiter, 3, "PX", 90_000)
        await queue.rest(70_000)
        assert 69_000 < await left(k.rest) <= 70_000
        assert await queue.client.call(k.slot, "GET", k.limiter) == b"3"
        await queue.rest(100_000)
        assert 99_000 < await left(k.limiter) <= 100_000


async def test_with_shards_all_that_the_worker_serves_rest(herd: Oxherd, records: Records) -> None:
    @herd.event("order.placed", shards=3, key=str)
    async def placed(number: int, ctx: Context) -> None:
        if number == 0 and ctx.fence == 1:
            raise RateLimited(0.8)

    async with herd:
        await herd.start()
        await placed.emit(0)
        (rested,) = await records.wait("event.end", outcome="retrying")
        await placed.emit_many(range(1, 20))
        ended = await records.wait("event.end", count=20, outcome="completed")
        assert min(each.created for each in ended) - rested.created >= 0.75


async def test_on_a_queue_that_events_share_the_event_is_snoozed_and_the_others_go_on(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", queue="{orders}")
    async def placed(number: int, ctx: Context) -> None:
        if ctx.fence == 1:
            raise RateLimited(0.8)

    @herd.event("order.shipped", queue="{orders}")
    async def shipped(number: int) -> None: ...

    async with herd:
        await herd.start()
        await placed.emit(0)
        (rested,) = await records.wait("event.end", outcome="retrying")
        await shipped.emit(1)
        (other,) = await records.wait("event.end", event="order.shipped")
        assert other.created - rested.created < 0.7
        (ended,) = await records.wait("event.end", event="order.placed", outcome="completed")
        assert ended.created - rested.created >= 0.75
        assert vars(ended)["attempt"] == 1


async def test_an_ordered_event_rests_and_keeps_its_order(herd: Oxherd, records: Records) -> None:
    runs: list[int] = []

    @herd.event("order.placed", ordered=True, rate=Rate(100, per=1))
    async def placed(number: int, ctx: Context) -> None:
        runs.append(number)
        if number == 1 and ctx.fence < 3:
            raise RateLimited(0.3)

    async with herd:
        await placed.emit_many(range(4))
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
        begun = await begins(herd)
    assert runs == [0, 1, 1, 1, 2, 3]
    assert begun[2] - begun[1] >= 0.29


async def test_of_a_group_the_limit_counts_before_a_snooze_and_zero_rests_no_time(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1))
    async def placed(number: int, ctx: Context) -> None:
        if ctx.fence == 1:
            raise ExceptionGroup("both", [Snooze(60), RateLimited(0)])

    async with herd:
        await herd.start()
        emitted = await placed.emit(1)
        await emitted.result(timeout=5)
        assert [vars(each)["attempt"] for each in records.named("event.begin")] == [1, 1]


async def test_handlers_in_processes_and_threads_say_it_as_well(local_herd: Oxherd, records: Records) -> None:
    @local_herd.event("order.placed")
    def placed(number: int, ctx: Context) -> None:
        if ctx.fence == 1:
            raise RateLimited(timedelta(milliseconds=300))

    async with local_herd:
        await local_herd.start()
        emitted = await placed.emit(1)
        await emitted.result(timeout=5)
        begun = await begins(local_herd)
    assert begun[1] - begun[0] >= 0.29
