"""Schedules in code: the workers store them, change them and remove them, and make no tick twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import Cron, Event, Every, Oxherd, Schedule, ScheduleInfo, UsageError
from oxherd.bullmq.job import event_id_text
from tests.harness import Records, until


class Report(BaseModel):
    name: str = "daily"


YEARLY = Cron("0 0 1 1 *", tz="Europe/Paris")
NIGHTLY = Schedule(YEARLY, Report())


def report(herd: Oxherd, seen: list[str] | None = None, **options: Any) -> Event[Report, Any]:
    """The event as one version declares it."""

    @herd.event("report.write", **options)
    async def report_write(report: Report) -> None:
        if seen is not None:
            seen.append(report.name)

    return report_write


def name_of(report: Report) -> str:
    return report.name


async def listed(event: Event[Any, Any], *names: str) -> dict[str, ScheduleInfo]:
    """The schedules once they are just these."""

    async def found() -> dict[str, ScheduleInfo] | None:
        by_name = {info.name: info for info in await event.schedules()}
        return by_name or {"": None} if set(by_name) == set(names) else None  # pyright: ignore[reportReturnType]

    return await until(found)


async def test_a_schedule_in_code_begins_with_a_worker_and_never_with_a_producer(
    herd: Oxherd, records: Records
) -> None:
    seen: list[str] = []
    event = report(herd, seen, schedules={"often": Schedule(Every(0.3), Report(name="a")), "nightly": NIGHTLY})
    async with herd:
        await event.emit(Report(name="emitted"))
        assert await event.schedules() == []
        await herd.start()
        found = await listed(event, "often", "nightly")
        assert found["nightly"].when == YEARLY
        assert found["often"].when == Every(0.3)
        assert found["often"].declared
        await records.wait("event.end", count=4, outcome="completed")
        assert set(seen) == {"emitted", "a"}
        (often,) = [info for info in await event.schedules() if info.name == "often"]
        assert often.last is not None
        assert often.next is not None
        assert often.last < often.next
        assert abs(often.last - datetime.now(UTC)).total_seconds() < 5


async def test_what_a_new_version_no_longer_declares_goes_what_it_changes_changes_and_the_rest_stays(
    url: str, make_herd: Callable[..., Oxherd]
) -> None:
    old, new = make_herd(url), make_herd(url)
    first = report(old, schedules={"a": NIGHTLY, "b": NIGHTLY, "c": NIGHTLY})
    second = report(new, schedules={"b": Schedule(Every(86_400), Report()), "c": NIGHTLY})
    async with old, new:
        await old.start()
        before = await listed(first, "a", "b", "c")
        await first.schedule("mine", YEARLY, Report())
        await new.start()
        after = await listed(second, "b", "c", "mine")
        assert after["b"].when == Every(86_400)
        assert after["c"] == before["c"]
        assert [after[name].declared for name in ("b", "c", "mine")] == [True, True, False]


async def test_a_new_version_without_schedules_removes_those_of_the_old_one(
    url: str, make_herd: Callable[..., Oxherd]
) -> None:
    old, new = make_herd(url), make_herd(url)
    first, second = report(old, schedules={"a": NIGHTLY}), report(new)
    async with old, new:
        await old.start()
        await listed(first, "a")
        await new.start()
        await listed(second)


async def test_a_schedule_that_is_lost_in_redis_is_made_again(herd: Oxherd, records: Records) -> None:
    event = report(herd, schedules={"often": Schedule(Every(0.3), Report())})
    async with herd:
        await herd.start()
        await records.wait("event.end", count=1, outcome="completed")
        queue = (await herd.backend()).queue(event.declaration)
        for key in ("repeat", "repeat:often", "delayed", "ticks", "schedules", "declared"):
            await queue.client.call(queue.keys.slot, "DEL", queue.keys.base + key)
        await until(lambda: queue.client.call(queue.keys.slot, "ZSCORE", queue.keys.repeat, "often"))
        await records.wait("event.end", count=len(records.named("event.end")) + 2, outcome="completed")


async def test_a_schedule_is_removed_and_declared_again_without_a_tick_made_twice(
    url: str, make_herd: Callable[..., Oxherd], records: Records
) -> None:
    """Also where the clock of who stores it again is behind: the last tick is remembered."""
    herd = make_herd(url)
    event = report(herd)
    async with herd:
        schedule = Every(0.2)
        await event.schedule("often", schedule, Report())
        await herd.start()
        await records.wait("event.begin", count=2)
        schedulers = (await herd.backend()).schedulers((await herd.backend()).queue(event.declaration))
        for _ in range(10):
            await event.unschedule("often")
            last = (await schedulers.state("often")).last_ms
            assert last
            await event.schedule("often", schedule, Report())
            state = await schedulers.state("often")
            assert state.record is not None
            assert state.record.next_ms > last
            await asyncio.sleep(0.07)
        await event.unschedule("often")
        assert len(begun(records)) == len(set(begun(records)))


async def test_a_paused_schedule_makes_no_tick_until_it_is_resumed(herd: Oxherd, records: Records) -> None:
    event = report(herd, schedules={"often": Schedule(Every(0.2), Report())})
    async with herd:
        await event.schedule("yearly", YEARLY, Report())
        await herd.start()
        await records.wait("event.end", count=2)
        for name in ("often", "yearly"):
            await event.pause_schedule(name)
        found = await listed(event, "often", "yearly")
        assert [(info.paused, info.next) for info in found.values()] == [(True, None)] * 2
        await asyncio.sleep(0.3)
        made = len(records.named("event.begin"))
        await asyncio.sleep(0.8)
        assert len(records.named("event.begin")) == made
        # Neither does a worker that starts, nor the same call once more.
        await event.stop()
        await event.schedule("yearly", YEARLY, Report())
        await event.start()
        emitted = await event.run_schedule("often")
        await emitted.result(timeout=10)
        assert len(records.named("event.begin")) == made + 1
        await event.resume_schedule("often")
        await event.resume_schedule("yearly")
        await records.wait("event.end", count=made + 3)
        assert {info.paused for info in await event.schedules()} == {False}
        with pytest.raises(UsageError, match="there is no schedule weekly"):
            await event.pause_schedule("weekly")


async def test_a_schedule_is_run_now_and_its_ticks_stay_as_they_are(herd: Oxherd) -> None:
    seen: list[str] = []
    event = report(herd, seen, schedules={"nightly": Schedule(YEARLY, Report(name="code"))})
    async with herd:
        await event.schedule("other", YEARLY, Report(name="run time"))
        await herd.start()
        before = await listed(event, "nightly", "other")
        for name in ("nightly", "other"):
            await (await event.run_schedule(name)).result(timeout=10)
        assert seen == ["code", "run time"]
        assert await listed(event, "nightly", "other") == before
        with pytest.raises(UsageError, match="there is no schedule weekly"):
            await event.run_schedule("weekly")


@pytest.mark.parametrize("missed", ["one", "none", "all"])
async def test_ticks_that_were_missed_are_made_up_for_as_declared(missed: Any, herd: Oxherd, records: Records) -> None:
    event = report(herd, schedules={"often": Schedule(Every(0.2), Report(), missed=missed)})
    async with herd:
        await herd.start()
        await records.wait("event.end", count=1)
        await herd.stop()
        backend = await herd.backend()
        queue, schedulers = backend.queue(event.declaration), backend.schedulers(backend.queue(event.declaration))
        last = (await schedulers.state("often")).last_ms
        # As if the last worker had been gone for longer than the server takes it to be alive.
        for field in ("since::report.write", "beat::report.write"):
            await queue.client.call(queue.keys.slot, "HSET", queue.keys.declared, field, last - 60_000)
        await asyncio.sleep(1.5)
        started = round(time.time() * 1000)
        await herd.start()
        missing = [event_id_text(queue.keys.queue, f"repeat:often:{due}") for due in range(last + 200, started, 200)]
        await until(lambda: sum(each not in missing for each in begun(records)) >= 4)
        await herd.stop()
        made_up = [each for each in begun(records) if each in missing]
        assert made_up == {"one": missing[:1], "none": [], "all": missing}[missed]
        assert len(missing) >= 6
        assert len(begun(records)) == len(set(begun(records)))
        assert len(records.named("event.expired")) == (missed == "none")


def begun(records: Records) -> list[str]:
    """The ids of the events that have begun, in order."""
    return [vars(record)["event_id"] for record in records.named("event.begin")]


async def test_schedules_in_code_of_events_that_share_a_queue_do_not_meet(herd: Oxherd) -> None:
    @herd.event("report.write", queue="{reports}", schedules={"a": NIGHTLY})
    async def report_write(report: Report) -> None: ...

    @herd.event("report.send", queue="{reports}", schedules={"a": NIGHTLY, "b": NIGHTLY})
    async def report_send(report: Report) -> None: ...

    async with herd:
        await herd.start()
        await listed(report_write, "a")
        await listed(report_send, "a", "b")


async def test_schedules_of_an_event_with_shards_are_in_its_plain_queue(herd: Oxherd, records: Records) -> None:
    event = report(herd, shards=3, key=name_of, schedules={"often": Schedule(Every(0.3), Report())})
    async with herd:
        await herd.start()
        await records.wait("event.end", count=3, event="report.write")
        await listed(event, "often")
