"""What happens to an event, followed from any process: in order, each once, from any position on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest

from oxherd import Context, Discard, Emitted, Event, Oxherd, ResultGone, Retry, Update, UsageError
from oxherd.servers.config import Settings
from oxherd.servers.standalone import StandaloneServer
from tests.harness import DEADLINE, until

Told = tuple[str, Any]


async def told(updates: AsyncGenerator[Update], count: int = 0) -> list[Update]:
    """So many updates, or all until the end."""
    found: list[Update] = []
    async with asyncio.timeout(DEADLINE), aclosing(updates):
        async for update in updates:
            found.append(update)
            if len(found) == count:
                break
    return found


def shown(updates: list[Update]) -> list[Told]:
    return [(update.kind, update.outcome if update.kind == "ended" else update.progress) for update in updates]


class Work:
    """An event whose handler stores the progress that it is told to, and ends when it is told to."""

    def __init__(self, herd: Oxherd, **options: Any) -> None:
        self.steps: asyncio.Queue[Any] = asyncio.Queue()
        self.event: Event[int, Any] = herd.event("order.placed", retry=Retry(2, delay=0.01), **options)(self.handle)

    async def handle(self, number: int, ctx: Context) -> str:
        while True:
            step = await self.steps.get()
            if isinstance(step, BaseException):
                raise step
            if step == "end":
                return "secret"
            await ctx.progress(step)

    def do(self, *steps: Any) -> None:
        for step in steps:
            self.steps.put_nowait(step)


async def followed(herd: Oxherd, emitted: Emitted[Any], count: int = 0) -> asyncio.Task[list[Update]]:
    """Follow an event, whose beginnings are then told."""
    following = asyncio.create_task(told(emitted.updates(), count))
    backend = await herd.backend()
    queue = backend.queue(herd[emitted.event].declaration)
    await until(lambda: backend.client.call(queue.keys.slot, "HGET", queue.keys.job(str(emitted.id)), "ox:asked"))
    return following


async def stream_key(herd: Oxherd, event: Event[Any, Any]) -> tuple[Any, int, str]:
    backend = await herd.backend()
    queue = backend.queue(event.declaration)
    return backend.client, queue.keys.slot, queue.keys.events


async def test_the_updates_come_in_order_and_end_with_the_event(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        following = await followed(herd, emitted)
        work.do(1, {"half": "é\u2028\n"}, ValueError("no"), [3], "end")
        await herd.start()
        updates = await following
    assert shown(updates) == [
        ("began", None),
        ("progress", 1),
        ("progress", {"half": "é\u2028\n"}),
        ("retrying", None),
        ("began", None),
        ("progress", [3]),
        ("ended", "completed"),
    ]


async def test_after_each_position_the_rest_follows_also_once_the_event_is_gone(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        following = await followed(herd, emitted)
        work.do(1, 2, ValueError("no"), 3)
        await herd.start()
        await until(lambda: seen(emitted, 3))
        first = (await told(emitted.updates(), 1))[0].position
        resumed = asyncio.create_task(told(emitted.updates(after=first)))
        work.do(4, "end")
        updates = await following
        assert await resumed == updates[-2:]
        for index, update in enumerate(updates[:-1]):
            assert await told(emitted.updates(after=update.position)) == updates[index + 1 :]
        assert shown(await told(emitted.updates(after=updates[-1].position))) == [("ended", "completed")]
        assert await told(emitted.updates(after="0-0")) == updates


async def test_one_that_comes_late_is_told_what_has_been(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        await herd.start()
        first = asyncio.create_task(told(emitted.updates()))
        work.do("a", "b")
        await until(lambda: seen(emitted, "b"))
        async with aclosing(emitted.updates()) as updates:
            late = [await anext(updates)]
            work.do("c", "end")
            late += [update async for update in updates]
        assert shown(late) == [("began", None), ("progress", "b"), ("progress", "c"), ("ended", "completed")]
        assert shown(await first)[-2:] == [("progress", "c"), ("ended", "completed")]
        assert shown(await told(emitted.updates())) == [("ended", "completed")]


async def test_two_followers_of_one_event_are_told_the_same_and_nothing_of_another(herd: Oxherd) -> None:
    work = Work(herd, concurrency=1)
    async with herd:
        one, other = await work.event.emit_many([1, 2])
        follows = [asyncio.create_task(told(one.updates())), await followed(herd, one), await followed(herd, other)]
        work.do(1, 2, "end", 3, "end")
        await herd.start()
        first, second, third = await asyncio.gather(*follows)
    assert first == second
    assert shown(first) == [("began", None), ("progress", 1), ("progress", 2), ("ended", "completed")]
    assert shown(third) == [("began", None), ("progress", 3), ("ended", "completed")]


async def test_nothing_is_missed_while_the_reader_has_lost_its_connection(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        await herd.start()
        following = await followed(herd, emitted)
        client, slot, _ = await stream_key(herd, work.event)
        for number in range(20):
            work.do(number)
            await until(work.steps.empty)
            for line in (await client.call(slot, "CLIENT", "LIST")).decode().splitlines():
                fields = dict(field.partition("=")[::2] for field in line.split())
                if fields["cmd"] == "xread":
                    await client.call(slot, "CLIENT", "KILL", "ID", fields["id"])
        work.do("end")
        updates = await following
    numbers = [update.progress for update in updates if update.kind == "progress"]
    assert numbers == list(range(20))
    assert shown(updates[-1:]) == [("ended", "completed")]


async def test_one_who_takes_them_slowly_is_told_the_rest_of_the_stream(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        await herd.start()
        async with aclosing(emitted.updates()) as updates:
            work.do("begun")
            found = [await anext(updates)]
            work.do(*range(900), "end")
            await until(work.steps.empty)
            found += [update async for update in updates]
    told_numbers = [update.progress for update in found if isinstance(update.progress, int)]
    assert told_numbers == list(range(900))
    assert shown(found[-1:]) == [("ended", "completed")]


async def test_where_the_stream_was_trimmed_it_is_told_how_the_event_is_doing(herd: Oxherd) -> None:
    work = Work(herd)
    async with herd:
        emitted = await work.event.emit(1)
        await herd.start()
        work.do(1)
        began = (await told(emitted.updates(), 1))[0]
        work.do(2, 3)
        await until(work.steps.empty)
        following = asyncio.create_task(told(emitted.updates()))
        client, slot, key = await stream_key(herd, work.event)
        await until(lambda: seen(emitted, 3))
        await client.call(slot, "XTRIM", key, "MAXLEN", 0)
        assert shown(await told(emitted.updates(after=began.position), 2)) == [("began", None), ("progress", 3)]
        assert shown(await told(emitted.updates(after="99999999999999-0"), 2)) == [("began", None), ("progress", 3)]
        work.do(4, "end")
        assert shown((await following)[-2:]) == [("progress", 4), ("ended", "completed")]


async def seen(emitted: Emitted[Any], progress: Any) -> bool:
    status = await emitted.status()
    return status is not None and status.progress == progress


PLACES: list[dict[str, Any]] = [{"shards": 4}, {"shards": 4, "key": str}, {"queue": "{all}"}]


@pytest.mark.parametrize("options", PLACES)
async def test_the_shard_or_queue_of_an_event_is_found(herd: Oxherd, options: dict[str, Any]) -> None:
    work = Work(herd, **options)
    async with herd:
        emitted = await work.event.emit_many(range(5))
        follows = [asyncio.create_task(told(each.updates())) for each in emitted]
        work.do(*[each for number in range(5) for each in (number, "end")])
        await herd.start()
        ends = [shown(updates)[-1] for updates in await asyncio.gather(*follows)]
        assert ends == [("ended", "completed")] * 5
        with pytest.raises(ResultGone, match="nothing is stored of"):
            await told(work.event.emitted(uuid4()).updates())


async def test_a_delay_before_the_first_begin_is_no_retry(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.event.emit(1, delay=0.5)
        work.do("end")
        await local_herd.start()
        # Followed from before it is due.
        assert shown(await told(emitted.updates())) == [("began", None), ("ended", "completed")]
        assert shown(await told(emitted.updates(after="0-0"))) == [("began", None), ("ended", "completed")]


async def test_a_discarded_event_ends_with_its_outcome_and_error(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.event.emit(1)
        work.do(Discard("no such order"))
        await local_herd.start()
        (*_, end) = await told(emitted.updates())
    assert (end.kind, end.outcome, end.error and end.error.message) == ("ended", "discarded", "no such order")


async def test_one_who_stops_following_leaves_nothing_behind(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.event.emit(1)
        backend = await local_herd.backend()
        reader = backend.answers(backend.queue(work.event.declaration)).reader
        waiting = asyncio.create_task(told(emitted.updates()))
        await until(lambda: reader.watched == 1)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert reader.watched == 0
        await local_herd.start()
        updates = emitted.updates()
        await anext(updates)
        assert reader.watched == 1
        await updates.aclose()
        assert reader.watched == 0
        work.do("end")


async def test_who_still_follows_when_the_herd_is_closed_is_told_so(local_herd: Oxherd) -> None:
    work = Work(local_herd)
    async with local_herd:
        emitted = await work.event.emit(1)
        following = asyncio.create_task(told(emitted.updates()))
        waiting = asyncio.create_task(emitted.result())
        backend = await local_herd.backend()
        await until(lambda: backend.answers(backend.queue(work.event.declaration)).reader.watched == 1)
    for each in (following, waiting):
        with pytest.raises(UsageError, match="The herd was closed while an answer was awaited"):
            await asyncio.wait_for(each, DEADLINE)


@pytest.mark.parametrize("lost", [False, True])
async def test_what_follows_a_restart_of_the_server_is_told(make_herd: Callable[..., Oxherd], lost: bool) -> None:
    settings: Settings = {} if lost else {"appendonly": "yes", "appendfsync": "always"}
    with StandaloneServer(settings=settings) as server:
        herd = make_herd(server.url)
        work = Work(herd)
        async with herd:
            following = await followed(herd, await work.event.emit(1))
            server.kill()
            server.start()
            if lost:
                with pytest.raises(ResultGone):
                    await following
                following = await followed(herd, await work.event.emit(2))
            work.do("a", "end")
            await herd.start()
            assert shown(await following) == [("began", None), ("progress", "a"), ("ended", "completed")]


@pytest.mark.parametrize(
    "after", ["", "x", "1", "1-", "1-1-end", "\u0661-\u0661", "18446744073709551615-0", f"{2**64}-0", 5]
)
async def test_a_position_that_is_none_is_refused(local_herd: Oxherd, after: Any) -> None:
    event = local_herd.declare("order.placed", int)
    async with local_herd:
        with pytest.raises(UsageError, match=r"order\.placed: after= takes the position of an update"):
            await told(event.emitted(uuid4()).updates(after))


def test_the_updates_are_followed_in_each_of_two_event_loops(standalone: str, prefix: str) -> None:
    herd = Oxherd(standalone, prefix=prefix)
    work = Work(herd)

    async def once() -> list[Told]:
        work.steps = asyncio.Queue()
        async with herd:
            emitted = await work.event.emit(1)
            following = await followed(herd, emitted)
            work.do(1, "end")
            await herd.start()
            return shown(await following)

    for _ in range(2):
        assert asyncio.run(once()) == [("began", None), ("progress", 1), ("ended", "completed")]
