"""The stored history: in the minutes of the server's clock, added once, and in a bounded space that expires."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oxherd import Oxherd
from oxherd.bullmq.history import (
    BEGUN,
    KEPT,
    OUTCOMES,
    RAN,
    RAN_MS,
    WAITED,
    WAITED_MS,
    Counted,
    Figures,
    add_figures,
    stored_history,
)
from oxherd.bullmq.inspection import stored_keys
from oxherd.bullmq.pack import pack
from oxherd.bullmq.queue import BullQueue
from oxherd.histogram import BUCKETS
from oxherd.testing import captured

# What the documentation says.
MOST_BYTES, USUAL_BYTES = 1_700_000, 260_000
DAY_MS = 86_400_000


@pytest.fixture
def herd(local_herd: Oxherd) -> Oxherd:
    local_herd.declare("order.placed", int)
    return local_herd


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["order.placed"].declaration)


async def size_of(queue: BullQueue) -> int:
    keys = [key for key in await stored_keys(queue) if key.startswith("history:")]
    sizes = [await queue.client.call(queue.keys.slot, "MEMORY", "USAGE", f"{queue.keys.base}{key}") for key in keys]
    return sum(sizes)


async def fill(queue: BullQueue, figures: Figures) -> None:
    """Write every minute of the last day, and every hour of the last month."""
    for number in range(KEPT["minute"]):
        await add_figures(queue, "w", f"m{number}", [Counted(number * 60_000, "order.placed", figures)])
    for number in range(24, KEPT["hour"]):
        await add_figures(queue, "w", f"h{number}", [Counted(number * 3_600_000, "order.placed", figures)])


@pytest.mark.parametrize("kind", ["usual", "full"])
async def test_an_event_takes_no_more_bytes_than_is_said(kind: str, herd: Oxherd) -> None:
    counts = [BEGUN, *OUTCOMES.values()]
    buckets = [*range(RAN, RAN + BUCKETS), *range(WAITED, WAITED + BUCKETS)]
    if kind == "usual":  # completed and some failed, times in ten buckets each
        counts, buckets = [0, 1, 3], [*range(20, 30), *range(80, 90)]
    # So many a minute that each number takes five bytes.
    count = 100_000 if kind == "full" else 1_000
    figures: Figures = dict.fromkeys((*counts, *buckets), count) | {RAN_MS: 5_000.25, WAITED_MS: 1_234.5}
    async with herd:
        queue = await queue_of(herd)
        await fill(queue, figures)
        size = await size_of(queue)
        most = MOST_BYTES if kind == "full" else USUAL_BYTES
        assert 0.5 * most < size < most
        stored = await stored_history(queue, "order.placed", "minute")
        # The minute may end while they are written.
        assert KEPT["minute"] - 1 <= len(stored.figures) <= KEPT["minute"]
        assert stored.figures[stored.first] == figures


async def test_every_key_expires_a_little_after_what_it_keeps(herd: Oxherd) -> None:
    async with herd:
        queue = await queue_of(herd)
        await add_figures(queue, "w", "1", [Counted(0, "order.placed", {BEGUN: 1})])
        left: dict[str, int] = {}
        for key in await stored_keys(queue):
            ms = await queue.client.call(queue.keys.slot, "PTTL", f"{queue.keys.base}{key}")
            left[":".join(key.split(":")[:2])] = ms
    assert left.keys() == {"history:m", "history:h", "history:mark"}
    assert DAY_MS < left["history:m"] <= DAY_MS + 3_600_000
    assert 33 * DAY_MS < left["history:h"] <= 34 * DAY_MS
    assert 0 < left["history:mark"] <= 3_600_000


async def test_a_batch_is_added_once_however_often_it_is_sent(herd: Oxherd) -> None:
    async with herd:
        queue = await queue_of(herd)
        for worker, batch in (("a", "1"), ("a", "1"), ("b", "1"), ("a", "2"), ("a", "2")):
            await add_figures(queue, worker, batch, [Counted(0, "order.placed", {BEGUN: 1, RAN: 2})])
        for step in ("minute", "hour"):
            found = await stored_history(queue, "order.placed", step)
            # In the present minute or hour, or in two if one has just ended.
            assert sum(each[BEGUN] for each in found.figures.values()) == 3
            assert sum(each[RAN] for each in found.figures.values()) == 6


async def test_what_was_counted_earlier_is_in_the_minute_in_which_it_was(herd: Oxherd) -> None:
    async with herd:
        queue = await queue_of(herd)
        counted = [Counted(minutes * 60_000, "order.placed", {BEGUN: minutes + 1}) for minutes in (0, 7, 90)]
        await add_figures(queue, "w", "1", counted)
        found = await stored_history(queue, "order.placed", "minute", last_ms=10 * 60_000)
        assert [figures for _, figures in sorted(found.figures.items())] == [{BEGUN: 8}, {BEGUN: 1}]
        numbers = sorted((await stored_history(queue, "order.placed", "minute")).figures)
        assert [numbers[-1] - number for number in numbers] == [90, 7, 0]


async def test_what_another_program_has_written_is_not_trusted(herd: Oxherd) -> None:
    async with herd:
        queue = await queue_of(herd)
        await add_figures(queue, "w", "1", [Counted(0, "order.placed", {BEGUN: 1})])
        (key,) = [key for key in await stored_keys(queue) if key.startswith("history:m:")]
        (field, _) = await queue.client.call(queue.keys.slot, "HGETALL", f"{queue.keys.base}{key}")
        number = (await stored_history(queue, "order.placed", "minute")).first + KEPT["minute"] - 1
        damaged = [[number % 10, [0, -1, 999, 5, 0, "x"]], [number % 10, 7], [-1, [0, 5]], [99, [0, 5]], {"0": 1}]
        for packed in (b"x", b"\xc1", *map(pack, [*damaged, [None] * 100, [number % 10, [0, 5, 1]]])):
            await queue.client.call(queue.keys.slot, "HSET", f"{queue.keys.base}{key}", field, packed)
            found = (await stored_history(queue, "order.placed", "minute")).figures
            assert found.get(number, {}) in ({}, {BEGUN: 5}), packed
            await add_figures(queue, "w", packed.hex(), [Counted(0, "order.placed", {BEGUN: 1})])
            last = (await stored_history(queue, "order.placed", "minute")).figures.values()
            assert {BEGUN: found.get(number, {}).get(BEGUN, 0) + 1} in last, packed


async def test_while_a_test_keeps_the_emits_the_history_is_refused(
    standalone: str, make_herd: Callable[..., Oxherd]
) -> None:
    herd = make_herd(standalone)
    herd.declare("order.placed", int)
    with captured(herd), pytest.raises(Exception, match="a test keeps this herd's emits"):
        await herd.admin.history("order.placed")
