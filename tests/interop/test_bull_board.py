"""bull-board on queues that oxherd fills and serves: what it shows is right, and what it does is obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from oxherd import Context, Cron, Event, Every, Keep, Oxherd, PerKey, Retry, Schedule
from oxherd.bullmq.shards import shard_queues
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.board import Board, board_of
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node

FAR = 3600


class Order(BaseModel):
    order_id: int


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


@pytest.fixture
async def board(on_node: OnNode) -> AsyncIterator[Board]:
    async with board_of(on_node) as board:
        yield board


async def test_it_shows_each_state_with_its_jobs(herd: Oxherd, board: Board, records: Records) -> None:
    go_on = asyncio.Event()

    @herd.event("order.placed", concurrency=1, keep=Keep(completed=10), retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> str:
        if order.order_id == 2:
            raise ValueError("no stock")
        if order.order_id == 3:
            await ctx.progress(50)
            await go_on.wait()
        return "receipt"

    async with herd:
        ids = [str((await order_placed.emit(Order(order_id=number))).id) for number in (1, 2, 3)]
        await herd.start()
        await records.wait("event.begin", count=3)
        waiting = await order_placed.emit(Order(order_id=4))
        urgent = await order_placed.emit(Order(order_id=5), priority=7)
        late = await order_placed.emit(Order(order_id=6), delay=FAR)
        assert await board.counts() == dict.fromkeys(
            ("completed", "failed", "active", "waiting", "prioritized", "delayed"), 1
        )
        shown = await board.listed()
        assert (shown["isPaused"], shown["hasWorkers"], shown["type"]) == (False, True, "bullmq")
        (done,), (failed,), (active,) = [await board.jobs(state) for state in ("completed", "failed", "active")]
        assert [done["id"], failed["id"], active["id"]] == ids
        assert (done["name"], done["data"], done["returnValue"]) == ("order.placed", {"order_id": 1}, "receipt")
        assert done["timestamp"] <= done["processedOn"] <= done["finishedOn"]
        assert done["attempts"] == 1
        assert (failed["isFailed"], failed["attempts"]) == (True, 1)
        print(failed)
        assert "finishedOn" not in active
        assert active["progress"] == 50
        (worker,) = await herd.workers()
        assert done["processedBy"] == active["processedBy"] == worker.id
        assert [(await board.jobs(state))[0]["id"] for state in ("waiting", "prioritized", "delayed")] == [
            str(waiting.id), str(urgent.id), str(late.id),
        ]  # fmt: skip
        assert (await board.jobs("prioritized"))[0]["priority"] == 7
        assert (await board.jobs("delayed"))[0]["delay"] == FAR * 1000
        one = await board.get(f"/{ids[2]}")
        assert (one["job"]["id"], one["status"]) == (ids[2], "active")
        for page in ("metrics", "default-job-options", "rate-limit", "job-data-schema"):
            await board.get(f"/{page}")
        assert (await board.get(f"/{ids[2]}/logs")) == []
        await board.get(f"/{ids[2]}/flow")
        assert (await board.ask("GET", "/api/redis/stats"))["clients"]["connected"] > 0
        (listed,) = (await board.get("/workers"))["workers"]
        assert listed["name"] == worker.id
        go_on.set()


async def test_a_failed_event_is_retried_by_its_button_and_by_that_of_all(
    herd: Oxherd, board: Board, records: Records
) -> None:
    broken = True

    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> None:
        if broken:
            raise ValueError("no stock")

    async with herd:
        emitted = await order_placed.emit_many([Order(order_id=number) for number in range(3)])
        await herd.start()
        await records.wait("event.end", count=3, outcome="failed")
        broken = False
        await board.put(f"/{emitted[0].id}/retry")
        await records.wait("event.end", outcome="completed", event_id=emitted[0].id)
        assert await board.put("/retry/failed") == {"retried": 2, "skipped": 0}
        await records.wait("event.end", count=3, outcome="completed")
        await until(lambda: is_empty(board))


async def is_empty(board: Board) -> bool:
    return await board.counts() == {}


async def test_a_delayed_event_is_promoted_by_its_button_and_by_that_of_all(
    herd: Oxherd, board: Board, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        emitted = [await order_placed.emit(Order(order_id=number), delay=FAR) for number in range(3)]
        await herd.start()
        await board.put(f"/{emitted[1].id}/promote")
        await records.wait("event.end", outcome="completed", event_id=emitted[1].id)
        await board.put("/promote")
        await records.wait("event.end", count=3, outcome="completed")


async def test_pause_and_resume_are_obeyed_and_shown_on_both_sides(
    herd: Oxherd, board: Board, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await board.put("/pause")
        assert (await herd.admin.events())[0].paused
        await order_placed.emit(Order(order_id=1))
        await order_placed.emit(Order(order_id=2), priority=1)
        # A delayed one that comes due waits as well.
        late = await order_placed.emit(Order(order_id=3), delay=0.3)
        await until(lambda: _is_waiting(board, str(late.id)))
        shown = await board.listed()
        assert (shown["isPaused"], shown["counts"]["waiting"], shown["counts"]["prioritized"]) == (True, 2, 1)
        assert not records.named("event.begin")
        await board.put("/resume")
        await records.wait("event.end", count=3, outcome="completed")
        await order_placed.pause()
        assert (await board.listed())["isPaused"]
        await order_placed.resume()
        assert not (await board.listed())["isPaused"]


async def _is_waiting(board: Board, job_id: str) -> bool:
    return job_id in [job["id"] for job in await board.jobs("waiting")]


async def test_what_is_cleaned_removed_and_emptied_is_gone_here_too(
    herd: Oxherd, board: Board, records: Records
) -> None:
    @herd.event("order.placed", keep=Keep(completed=10), retry=Retry(attempts=1))
    async def order_placed(order: Order) -> None:
        if order.order_id % 2:
            raise ValueError("no stock")

    async with herd:
        first, second, *_ = await order_placed.emit_many([Order(order_id=number) for number in range(6)])
        await herd.start()
        await records.wait("event.end", count=6)
        await herd.stop()
        await board.put(f"/{first.id}/clean")
        assert await first.status() is None
        assert await board.counts() == {"completed": 2, "failed": 3}
        await board.put("/clean/failed")
        assert await board.counts() == {"completed": 2, "failed": 3}
        await board.later(6)
        await board.put("/clean/failed")
        assert await second.status() is None
        await board.put("/clean/completed")
        assert await board.counts() == {}
        await board.later(0)
        waiting = [await order_placed.emit(Order(order_id=8)), await order_placed.emit(Order(order_id=8), priority=1)]
        late = await order_placed.emit(Order(order_id=8), delay=FAR)
        await board.put("/empty")
        assert [await each.status() for each in waiting] == [None, None]
        assert await board.counts() == {"delayed": 1}
        await board.later(6)
        await board.put("/clean/delayed")
        assert await late.status() is None
        (row,) = await herd.admin.events()
        assert (row.waiting, row.delayed, row.failed) == (0, 0, 0)


async def test_after_all_is_obliterated_the_event_works_as_before(herd: Oxherd, board: Board, records: Records) -> None:
    @herd.event("order.placed", max_running=5)
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await order_placed.emit(Order(order_id=1), delay=FAR)
        await herd.start()
        await order_placed.emit(Order(order_id=2))
        await records.wait("event.end")
        await board.put("/pause")
        await board.put("/obliterate", {"force": False})
        assert await board.counts() == {}
        assert not (await board.listed())["isPaused"]
        emitted = await order_placed.emit(Order(order_id=3))
        await records.wait("event.end", outcome="completed", event_id=emitted.id)
        assert (await board.listed())["hasWorkers"]


async def test_limits_and_keys_start_anew_after_all_is_obliterated(
    herd: Oxherd, board: Board, records: Records
) -> None:
    @herd.event(
        "order.placed",
        max_running=5,
        key=lambda order: order.order_id,
        per_key=PerKey(max_running=1),
        keep=Keep(completed=9),
    )
    async def order_placed(order: Order) -> None:
        if order.order_id == 7:
            await asyncio.sleep(FAR)

    async with herd:
        await herd.start()
        first, *_ = await order_placed.emit_many([Order(order_id=7) for _ in range(3)])
        await records.wait("event.begin")
        await herd.stop(timeout=0)
        await until(lambda: _counted(board, 3))
        await board.put("/pause")
        await board.put("/obliterate", {"force": True})
        assert await first.status() is None
        await herd.start()
        await until(lambda: _most(order_placed, 5))
        await order_placed.emit_many([Order(order_id=number) for number in (7, 8, 8)])
        await records.wait("event.begin", count=4)
        await records.wait("event.end", count=2, outcome="completed")
        await herd.stop(timeout=0)


async def _most(event: Event[Order, None], count: int) -> bool:
    return (await event.limits()).max_running == count


async def _counted(board: Board, count: int) -> bool:
    return sum((await board.counts()).values()) == count


async def test_a_running_event_is_not_removed_and_a_completed_one_runs_again(
    herd: Oxherd, board: Board, records: Records
) -> None:
    go_on = asyncio.Event()

    @herd.event("order.placed", keep=Keep(completed=9))
    async def order_placed(order: Order) -> None:
        await go_on.wait()

    async with herd:
        await herd.start()
        emitted = await order_placed.emit(Order(order_id=1))
        await records.wait("event.begin")
        with pytest.raises(AssertionError, match="JOB_IS_ACTIVE"):
            await board.put(f"/{emitted.id}/clean")
        go_on.set()
        await records.wait("event.end", outcome="completed")
        assert await board.put("/retry/completed") == {"retried": 1, "skipped": 0}
        await records.wait("event.end", count=2, outcome="completed")


async def test_a_schedule_in_code_that_is_removed_is_stored_again(herd: Oxherd, board: Board) -> None:
    nightly = Schedule(Cron("0 2 * * *"), Order(order_id=1))

    @herd.event("order.placed", schedules={"nightly": nightly})
    async def order_placed(order: Order) -> None: ...

    async def has_schedule() -> bool:
        return [each["id"] for each in await board.schedulers()] == ["nightly"]

    async with herd:
        await herd.start()
        await until(has_schedule)
        await board.put("/job-schedulers/nightly/remove")
        assert not await has_schedule()
        await until(has_schedule)


async def test_schedules_are_listed_run_changed_and_removed(herd: Oxherd, board: Board, records: Records) -> None:
    seen: list[int] = []

    @herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(order: Order) -> None:
        seen.append(order.order_id)

    async with herd:
        await order_placed.schedule("nightly", Cron("0 2 * * *", tz="Europe/Paris"), Order(order_id=1))
        await order_placed.schedule("often", Every(0.5), Order(order_id=2))
        await herd.start()
        await until(lambda: seen.count(2) >= 2)
        shown = {each["id"]: each for each in await board.schedulers()}
        nightly, often = shown["nightly"], shown["often"]
        infos = {info.name: info for info in await order_placed.schedules()}
        assert (nightly["name"], nightly["pattern"], nightly["tz"]) == ("order.placed", "0 2 * * *", "Europe/Paris")
        assert nightly["template"]["data"] == {"order_id": 1}
        assert infos["nightly"].next is not None
        assert nightly["next"] == infos["nightly"].next.timestamp() * 1000
        assert nightly["nextRunJobId"] == f"repeat:nightly:{nightly['next']}"
        assert (often["every"], often["iterationCount"] >= 2) == (500, True)
        assert {"nextRunJobId", "lastRun", "lastRunJobId"} <= often.keys()
        assert (await board.listed())["jobSchedulerCount"] == 2

        await board.put("/job-schedulers/often/remove")
        assert [info.name for info in await order_placed.schedules()] == ["nightly"]
        ran = await board.put("/job-schedulers/nightly/run")
        assert ran["job"]["data"] == {"order_id": 1}
        await until(lambda: 1 in seen)
        seen.clear()
        await board.patch("/job-schedulers/nightly", {"every": 400})
        await until(lambda: seen.count(1) >= 3)
        (info,) = await order_placed.schedules()
        assert info.when == Every(0.4)
        await board.put("/job-schedulers/nightly/remove")
        assert await order_placed.schedules() == []
    assert not records.named("queue.error")


async def test_what_is_added_and_edited_runs_as_it_was_edited(herd: Oxherd, board: Board, records: Records) -> None:
    seen: list[int] = []

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order) -> None:
        seen.append(order.order_id)

    async with herd:
        added = (await board.post("/add", {"name": "order.placed", "data": {"order_id": 1}, "options": {}}))["job"]
        second = await order_placed.emit(Order(order_id=2))
        late = await order_placed.emit(Order(order_id=3), delay=FAR)
        await board.patch(f"/{second.id}/update-data", {"jobData": {"order_id": 20}})
        await board.patch(f"/{added['id']}/priority", {"priority": 9})
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        assert seen == [20, 1]
        shown = (await board.jobs("delayed"))[0]
        await board.patch(f"/{late.id}/delay", {"runAt": shown["timestamp"] + 100})
        await records.wait("event.end", event_id=late.id, outcome="completed")


async def test_limits_that_are_set_on_the_board_are_the_events_limits(herd: Oxherd, board: Board) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await herd.start()
        await board.put("/concurrency", {"concurrency": 3})
        await board.put("/rate-limit", {"max": 10, "duration": 2000})
        limits = await order_placed.limits()
        assert limits.max_running == 3
        assert limits.rate is not None
        assert (limits.rate.count, limits.rate.per) == (10, 2.0)
        assert (await board.listed())["globalConcurrency"] == 3
        assert (await board.get("/rate-limit"))["rateLimit"] == {"max": 10, "duration": 2000}


async def test_each_shard_is_a_queue_of_the_board(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed", shards=2)
    async def order_placed(order: Order) -> None: ...

    async with herd, board_of(on_node, shard_queues("order.placed", 2)[1]) as board:
        await order_placed.pause()
        assert (await board.listed())["isPaused"]
        await order_placed.emit_many([Order(order_id=number) for number in range(20)])
        assert 0 < (await board.counts())["waiting"] < 20
        await herd.start()
        await order_placed.resume()
        await records.wait("event.end", count=20, outcome="completed")
        assert (await board.listed())["hasWorkers"]


async def test_metrics_that_a_worker_of_nodes_has_begun_count_what_ends_here(
    herd: Oxherd, on_node: OnNode, board: Board, records: Records
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order) -> None:
        if order.order_id == 1:
            raise ValueError("no stock")

    node = on_node("""
        const metrics = { maxDataPoints: 60 };
        const worked = worker(async () => {}, { metrics });
        worked.on("completed", () => say("completed"));
        await queue.add("order.placed", { order_id: 0 });
        await done();
    """)
    await node.wait(lambda said: said == "completed")
    await node.end()
    async with herd:
        await order_placed.emit_many([Order(order_id=number) for number in range(4)])
        await herd.start()
        await records.wait("event.end", count=4)
    found = await board.get("/metrics")
    assert (found["completed"]["meta"]["count"], found["failed"]["meta"]["count"]) == (4, 1)
