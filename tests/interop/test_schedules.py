"""Schedules that Node's BullMQ stored go on here, or are kept until somebody mends them."""

from __future__ import annotations

import pytest

from oxherd import Every, Oxherd, Schedule
from oxherd.bullmq.queue import BullQueue
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


@pytest.fixture
def url(standalone: str) -> str:
    return standalone


async def scheduled(on_node: OnNode, repeat: str, template: str = "{ data: 7 }") -> None:
    template = template.replace("{", '{ name: "order.placed",', 1)
    script = on_node(f'await queue.upsertJobScheduler("nightly", {repeat}, {template});')
    await script.end()


async def queue_of(herd: Oxherd) -> BullQueue:
    return (await herd.backend()).queue(herd["order.placed"].declaration)


REPEATS = [
    '{ pattern: "* * * * * ?" }',
    '{ pattern: "*/1 * * ? * ?", tz: "europe/paris" }',
    '{ pattern: "@secondly" }',
    '{ pattern: "* * H(0-23)/1 * * *" }',
    '{ pattern: "* * * * * *", startDate: Date.now() + 1500 }',
    '{ pattern: "* * * * * *", immediately: true }',
    "{ every: 700, offset: 100 }",
    "{ every: 700, immediately: true }",
    '{ pattern: "* * * * * 0-7", limit: 100, endDate: Date.now() + 3600000 }',
]


@pytest.mark.parametrize("repeat", REPEATS)
async def test_a_schedule_of_nodes_goes_on_with_its_template(
    repeat: str, local_herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None:
        assert order == 7

    await scheduled(on_node, repeat, "{ data: 7, opts: { attempts: 2, removeOnComplete: 2 } }")
    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", count=4, outcome="completed")
        assert (await (await queue_of(local_herd)).counts())["completed"] == 2
    assert not records.named("queue.error")


@pytest.mark.parametrize(
    ("repeat", "runs"),
    [
        ('{ pattern: "* * * * * *", endDate: Date.now() + 2500 }', (2, 3)),
        ('{ pattern: "* * * * * *", limit: 2 }', (2, 2)),
        ("{ every: 500, limit: 3 }", (3, 3)),
    ],
)
async def test_a_schedule_of_nodes_ends_where_it_says(
    repeat: str, runs: tuple[int, int], local_herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    await scheduled(on_node, repeat)
    async with local_herd:
        await local_herd.start()
        queue = await queue_of(local_herd)

        async def over() -> bool:
            counts = await queue.counts()
            return not counts["delayed"] + counts["wait"] + counts["active"]

        await until(over)
    assert runs[0] <= len(records.named("event.end", outcome="completed")) <= runs[1]
    assert not records.named("queue.error")


@pytest.mark.parametrize(
    "damage",
    [
        "the schedule's name",
        '"pattern":"61 * * * * *"',
        '"pattern":"* * * * * *","tz":"No/Where"',
    ],
)
async def test_a_schedule_that_cannot_be_read_is_kept_until_it_is_mended(
    damage: str, local_herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @local_herd.event("order.placed")
    async def order_placed(order: int) -> None: ...

    await scheduled(on_node, '{ pattern: "* * * * * *" }')
    async with local_herd:
        queue = await queue_of(local_herd)
        call, keys = queue.client.call, queue.keys
        # Node puts a tick that is due by then among those that wait.
        due, waiting = ("ZRANGE", keys.delayed, 0, -1), ("LRANGE", keys.wait, 0, -1)
        (tick,) = [*await call(keys.slot, *due), *await call(keys.slot, *waiting)]
        if "pattern" in damage:
            options = (await call(keys.slot, "HGET", keys.base.encode() + tick, "opts")).decode()
            options = options.replace('"pattern":"* * * * * *"', damage)
            await call(keys.slot, "HSET", keys.base.encode() + tick, "opts", options)
        else:
            # BullMQ's script fails after it has advanced the schedule.
            await call(keys.slot, "HDEL", keys.repeat + ":nightly", "name")
        await local_herd.start()
        await records.wait("queue.error", source="schedule")
        await until(lambda: _kept(queue, tick))
        assert not records.named("event.begin")
        await scheduled(on_node, '{ pattern: "* * * * * *" }')
        await records.wait("event.end", count=2, outcome="completed")
    assert len(records.named("queue.error")) == 1


async def _kept(queue: BullQueue, tick: bytes) -> bool:
    return await queue.client.call(queue.keys.slot, "ZRANGE", queue.keys.delayed, 0, -1) == [tick]


async def test_node_lists_the_schedules_in_code_and_begins_no_tick_of_one_that_is_paused(
    local_herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @local_herd.event("order.placed", schedules={"often": Schedule(Every(0.3), 7), "paused": Schedule(Every(0.3), 8)})
    async def order_placed(order: int) -> None: ...

    async with local_herd:
        await local_herd.start()
        await records.wait("event.end", count=4)
        await order_placed.pause_schedule("paused")
        await local_herd.stop()
        script = on_node("""
            const listed = await queue.getJobSchedulers();
            const begun = [];
            worker(async (job) => { begun.push(job.data); });
            while (begun.filter((data) => data === 7).length < 4) await new Promise((next) => setTimeout(next, 50));
            say([listed.map((each) => [each.key, each.name, Number(each.every)]).sort(), begun]);
        """)
        ((listed, done),) = await script.end()
        assert listed == [["often", "order.placed", 300], ["paused", "order.placed", 300]]
        # One may have been due when it was paused.
        assert done.count(8) <= 1
        await order_placed.resume_schedule("paused")
        await local_herd.start()
        await records.wait("event.end", count=len(records.named("event.end")) + 4)
        assert all(info.next is not None for info in await order_placed.schedules())
