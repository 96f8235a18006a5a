"""`move`: whatever dies in between, what waited under the old name is in the event's queue, once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oxherd import Cron, Oxherd
from tests.admin.filled import fill_waiting
from tests.harness import Records, run, until

MOVER = """
import asyncio, os, signal, sys
from oxherd import Oxherd

herd = Oxherd(sys.argv[1], prefix=sys.argv[2])
herd.declare("order.accepted", dict)

async def main():
    async with herd:
        async for progress in herd.admin.move("{order.placed}", "order.accepted"):
            if progress.done >= 300:
                asyncio.get_running_loop().call_later(0.003, os.kill, os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def old(standalone: str, make_herd: Callable[..., Oxherd]) -> Oxherd:
    herd = make_herd(standalone)
    herd.declare("order.placed", dict[str, int])
    return herd


async def test_a_process_that_is_killed_midway_loses_nothing_and_doubles_nothing(
    old: Oxherd, local_herd: Oxherd, standalone: str, prefix: str, tmp_path: Path
) -> None:
    local_herd.declare("order.accepted", dict[str, int])
    async with old:
        await fill_waiting((await old.backend()).queue(old["order.placed"].declaration), 1_500)
    (tmp_path / "mover.py").write_text(MOVER)
    killed = await asyncio.to_thread(run, tmp_path, sys.executable, "mover.py", standalone, prefix)
    assert killed.returncode == -9
    async with local_herd:
        (row,) = await local_herd.admin.events()
        assert 300 <= row.waiting < 1_500
        summary = await local_herd.admin.move("{order.placed}", "order.accepted").run()
        assert summary.complete
        found = await local_herd.admin.find(state="waiting").all()
        assert len(found) == len({each.id for each in found}) == 1_500
        assert [each.emitted_at for each in found] == sorted(each.emitted_at for each in found if each.emitted_at)


async def test_one_that_was_added_but_not_removed_before_a_death_runs_once(
    old: Oxherd, local_herd: Oxherd, records: Records
) -> None:
    ran: list[int] = []

    @local_herd.event("order.accepted")
    async def accepted(order: dict[str, int]) -> None:
        ran.append(order["number"])

    async with old, local_herd:
        emitted = await old["order.placed"].emit({"number": 1})
        assert (await local_herd.admin.move("{order.placed}", "order.accepted").run()).done == 1
        await accepted.start()
        await until(lambda: ran == [1])
        # As if the first call had died before it removed the event.
        await old["order.placed"].emit({"number": 1}, id=emitted.id)
        assert (await local_herd.admin.move("{order.placed}", "order.accepted").run()).done == 1
        (row,) = await local_herd.admin.events()
        assert (row.waiting, row.running) == (0, 0)
    assert ran == [1]


async def test_the_next_tick_of_an_old_schedule_stays_and_is_told(old: Oxherd, local_herd: Oxherd) -> None:
    local_herd.declare("order.accepted", dict[str, int])
    async with old, local_herd:
        await old["order.placed"].schedule("nightly", Cron("0 2 * * *"), {"number": 1})
        await old["order.placed"].emit({"number": 2})
        (unknown,) = await local_herd.admin.unknown_queues()
        assert (unknown.schedules, unknown.delayed) == (1, 1)
        summary = await local_herd.admin.move("{order.placed}", "order.accepted").run()
        assert (summary.done, summary.skipped) == (1, 1)
        assert "ticks of schedules stay" in summary.problems[0]
        assert len(await old["order.placed"].schedules()) == 1


async def test_an_event_with_shards_gets_each_where_its_key_belongs(old: Oxherd, local_herd: Oxherd) -> None:
    sharded = local_herd.declare("order.accepted", dict[str, int], shards=4, key=lambda order: str(order["number"]))
    async with old, local_herd:
        for number in range(20):
            await old["order.placed"].emit({"number": number})
        assert (await local_herd.admin.move("{order.placed}", "order.accepted").run()).done == 20
        found = await local_herd.admin.find(state="waiting").all()
        assert len(found) == 20
        assert len({each.queue for each in found}) > 1
        before = {each.id: each.queue for each in found}
        again = await sharded.emit({"number": 3})
        (same,) = [each for each in await local_herd.admin.find(state="waiting").all() if each.id == again.id]
        assert same.queue in before.values()


async def test_one_whose_key_cannot_be_told_stays(old: Oxherd, local_herd: Oxherd) -> None:
    def key(order: dict[str, int]) -> str:
        raise LookupError(order["number"])

    local_herd.declare("order.accepted", dict[str, int], shards=2, key=key)
    async with old, local_herd:
        await old["order.placed"].emit({"number": 739173})
        summary = await local_herd.admin.move("{order.placed}", "order.accepted").run()
        assert (summary.done, summary.skipped) == (0, 1)
        assert "order.accepted does not take it" in summary.problems[0]
        assert "739173" not in summary.problems[0]
        (unknown,) = await local_herd.admin.unknown_queues()
        assert unknown.waiting == 1
