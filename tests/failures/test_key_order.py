"""The order of each key's events, where some wait at the back of the queue and later ones before them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oxherd import Event, Oxherd, PerKey
from tests.conformance.key_runs import Runs, left_of_keys, queue_of
from tests.harness import until

MakeHerd = Callable[..., Oxherd]
Order = tuple[str, int]


async def test_what_is_let_go_to_the_back_of_the_queue_begins_before_what_came_later(
    standalone: str, make_herd: MakeHerd
) -> None:
    """No worker has looked at the later one while the key let the earlier one go."""
    await _begin_in_order(standalone, make_herd, PerKey(), lapse=False)


@pytest.mark.parametrize("per_key", [PerKey(), PerKey(max_running=1)], ids=str)
async def test_what_waits_for_long_after_it_was_let_go_still_begins_before_what_came_later(
    standalone: str, make_herd: MakeHerd, per_key: PerKey
) -> None:
    await _begin_in_order(standalone, make_herd, per_key, lapse=True)


async def _begin_in_order(url: str, make_herd: MakeHerd, per_key: PerKey, *, lapse: bool) -> None:
    runs = Runs()

    def declare_in(herd: Oxherd) -> Event[Order, None]:
        @herd.event("order.placed", key=lambda order: order[0], per_key=per_key, concurrency=1)
        async def placed(order: Order) -> None:
            await runs.run(order)

        return placed

    first, second = make_herd(url), make_herd(url)
    placed = declare_in(first)
    async with first:
        await placed.pause(key="a")
        await first.start()
        await placed.emit(("a", 0))
        await until(lambda: delayed(first, 1))
        await first.stop()
        await placed.emit_many([("a", 1), ("a", 2), ("b", 0)])
        await placed.resume(key="a")
        k, client = (queue := await queue_of(first)).keys, queue.client
        (running,) = [each for each in await left_of_keys(queue) if each.endswith(":running")]
        if lapse:
            for job_id in await client.call(k.slot, "ZRANGE", running, 0, -1):
                await client.call(k.slot, "ZADD", running, 1, job_id)
        declare_in(second)
        async with second:
            await second.start()
            await runs.wait(4)
        assert runs.of("a") == [0, 1, 2]
        await until(lambda: nothing_left(first))


async def test_what_is_in_no_list_any_more_does_not_use_up_its_keys_room_for_good(local_herd: Oxherd) -> None:
    runs = Runs()

    @local_herd.event("order.placed", key=lambda order: order[0], per_key=PerKey(max_running=1))
    async def placed(order: Order) -> None:
        await runs.run(order)

    async with local_herd:
        await placed.pause(key="a")
        await local_herd.start()
        lost = await placed.emit(("a", 0))
        await until(lambda: delayed(local_herd, 1))
        await placed.pause()
        await placed.resume(key="a")
        k, client = (queue := await queue_of(local_herd)).keys, queue.client
        (running,) = [each for each in await left_of_keys(queue) if each.endswith(":running")]
        for each in (k.wait, k.paused):
            await client.call(k.slot, "LREM", each, 0, str(lost.id))
        await client.call(k.slot, "ZADD", running, 1, str(lost.id))
        await placed.resume()
        await placed.emit(("a", 1))
        await runs.wait(1)
        assert runs.of("a") == [1]


async def delayed(herd: Oxherd, count: int) -> bool:
    return (await (await queue_of(herd)).counts())["delayed"] == count


async def nothing_left(herd: Oxherd) -> bool:
    return await left_of_keys(await queue_of(herd)) == []
