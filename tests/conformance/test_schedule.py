"""Schedules: one event for each tick, whoever schedules it, however often."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import Context, Cron, Event, Every, Oxherd
from tests.harness import Records


class Report(BaseModel):
    name: str = "daily"


async def schedulers_of(herd: Oxherd, event: Event[Any, Any]) -> Any:
    backend = await herd.backend()
    return backend.schedulers(backend.queue(event.declaration))


async def test_a_tick_makes_one_event_however_many_workers_run(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    seen: list[tuple[str, float]] = []
    herds = [make_herd(url) for _ in range(3)]
    events: list[Event[Report, Any]] = []
    for herd in herds:

        @herd.event("report.write")
        async def report_write(report: Report, ctx: Context) -> None:
            seen.append((report.name, time.time()))

        events.append(report_write)
    async with herds[0], herds[1], herds[2]:
        await asyncio.gather(*(event.schedule("often", Every(0.5), Report()) for event in events))
        for event in events:
            await event.start()
        await records.wait("event.end", count=5, outcome="completed")
        assert await events[0].unschedule("often")
        assert not await events[0].unschedule("often")
        ticks = Counter(round(at * 2) for _, at in seen)
        assert set(ticks.values()) == {1}
        assert all((at * 1000) % 500 < 250 for _, at in seen), "ticks are the multiples of the interval since the epoch"
        ids = [vars(r)["event_id"] for r in records.named("event.begin")]
        assert len(set(ids)) == len(ids)


async def test_a_cron_schedule_goes_on_from_tick_to_tick(herd: Oxherd, records: Records) -> None:
    @herd.event("report.write")
    async def report_write(report: Report) -> None: ...

    async with herd:
        await report_write.schedule("seconds", Cron("* * * * * *", tz="Europe/Paris"), Report())
        await herd.start()
        await records.wait("event.end", count=3, outcome="completed")
        await report_write.unschedule("seconds")


async def test_asking_again_changes_nothing_and_keeps_a_tick_that_came_due_while_no_worker_ran(
    herd: Oxherd, records: Records
) -> None:
    @herd.event("report.write")
    async def report_write(report: Report) -> None: ...

    async with herd:
        await report_write.schedule("due", Every(1), Report())
        schedulers = await schedulers_of(herd, report_write)
        stored = await schedulers.get("due")
        assert stored is not None
        await asyncio.sleep(max(0.0, stored.next_ms / 1000 - time.time()) + 0.1)
        await report_write.schedule("due", Every(1), Report())
        assert (await schedulers.get("due")).next_ms == stored.next_ms
        await herd.start()
        await records.wait("event.begin", event="report.write")
        await report_write.unschedule("due")


async def test_a_changed_schedule_replaces_the_old_one(herd: Oxherd, records: Records) -> None:
    seen: list[str] = []

    @herd.event("report.write")
    async def report_write(report: Report) -> None:
        seen.append(report.name)

    async with herd:
        await report_write.schedule("changing", Cron("0 0 1 1 *"), Report(name="old"))
        await report_write.schedule("changing", Every(0.3), Report(name="new"))
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        await report_write.unschedule("changing")
        assert set(seen) == {"new"}
        stored = await (await schedulers_of(herd, report_write)).get("changing")
        assert stored is None


@pytest.mark.parametrize(("old", "new", "kept"), [(1.0, 0.3, True), (0.5, 86_400.0, False)])
async def test_a_changed_interval_goes_on_at_its_own_multiples_also_where_a_tick_is_due(
    herd: Oxherd, records: Records, old: float, new: float, kept: bool
) -> None:
    @herd.event("report.write")
    async def report_write(report: Report) -> None: ...

    async with herd:
        await report_write.schedule("changing", Every(old), Report())
        schedulers = await schedulers_of(herd, report_write)
        due = (await schedulers.get("changing")).next_ms
        await asyncio.sleep(max(0.0, due / 1000 - time.time()) + 0.35)
        await report_write.schedule("changing", Every(new), Report())
        changed = (await schedulers.get("changing")).next_ms
        assert changed % round(new * 1000) == 0
        # A tick of the new interval that is not older stands for the one that is due.
        assert (due <= changed < time.time() * 1000) == kept
        if kept:
            await herd.start()
            await records.wait("event.end", count=3, outcome="completed")
            assert (await schedulers.get("changing")).next_ms % round(new * 1000) == 0
        await report_write.unschedule("changing")


async def test_schedules_of_events_that_share_a_queue_do_not_meet(herd: Oxherd, records: Records) -> None:
    @herd.event("report.write", queue="{reports}")
    async def report_write(report: Report) -> None: ...

    @herd.event("report.send", queue="{reports}")
    async def report_send(report: Report) -> None: ...

    async with herd:
        await report_write.schedule("often", Every(0.4), Report())
        await report_send.schedule("often", Every(0.4), Report())
        await herd.start()
        await records.wait("event.end", event="report.write", outcome="completed")
        await records.wait("event.end", event="report.send", outcome="completed")
        await report_write.unschedule("often")
        await report_send.unschedule("often")
