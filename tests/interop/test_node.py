"""One queue, two languages: Node's BullMQ and oxherd process each other's jobs, on a server and on a cluster."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import Context, Cron, Every, Keep, Keyring, Oxherd, Retry
from oxherd.bullmq.inspection import stored_keys
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node

QUEUE = "{order.placed}"
OWN_KEYS = {"events", "id", "marker", "meta", "stalled", "stalled-check", "pc", "repeat"}


class Order(BaseModel):
    order_id: int


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Node shares both kinds of servers with us."""
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


def derived(job_id: str) -> str:
    """The UUID of a job whose id is not one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"oxherd:{QUEUE}:{job_id}"))


def has_key(word: str) -> Callable[[Any], bool]:
    """Whether a script said something under that key."""
    return lambda said: isinstance(said, dict) and word in said


async def left(herd: Oxherd) -> set[str]:
    """The queue's keys that belong to jobs."""
    backend = await herd.backend()
    keys = await stored_keys(backend.queue(herd["order.placed"].declaration))
    return {key for key in keys if not key.startswith(("worker:", "history:"))} - OWN_KEYS


# -- added by Node, processed here


async def test_jobs_that_node_adds_are_processed_in_its_order_and_leave_nothing_behind(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    seen: list[tuple[int, str]] = []

    @herd.event("order.placed", concurrency=1)
    async def order_placed(order: Order, ctx: Context) -> None:
        seen.append((order.order_id, ctx.event_id))

    script = on_node("""
        const ids = [];
        const add = async (order_id, options) => {
            const job = await queue.add("order.placed", { order_id }, { removeOnComplete: true, ...options });
            ids.push(job.id);
        };
        await add(5, { priority: 7 });
        await add(4, { priority: 2 });
        await add(1);
        await add(2, { jobId: "invoice-17" });
        await add(3, { jobId: "0198A0F0-0000-7000-8000-0000000000aB" });
        const [bulk] = await queue.addBulk([{ name: "order.placed", data: { order_id: 6 }, opts: { priority: 9 } }]);
        ids.push(bulk.id);
        const due = Date.now() + 1200;
        await add(7, { delay: 1200 });
        say({ ids, due });
        await done();
    """)
    (told_,) = await script.wait()
    ids = told_["ids"]
    async with herd:
        await herd.start()
        await records.wait("event.end", count=7, outcome="completed")
        assert await left(herd) == set()
    await script.end()
    fifth, fourth, first, *_, sixth, seventh = ids
    assert all(job_id.isdigit() for job_id in (first, fourth, fifth, sixth, seventh))
    assert seen == [
        (1, derived(first)),
        (2, derived("invoice-17")),
        (3, "0198a0f0-0000-7000-8000-0000000000ab"),
        (4, derived(fourth)),
        (5, derived(fifth)),
        (6, derived(sixth)),
        (7, derived(seventh)),
    ]
    (late,) = records.named("event.begin", event_id=derived(seventh))
    assert told_["due"] <= late.created * 1000 < told_["due"] + 1000


async def test_once_and_nodes_deduplication_share_their_keys(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    ours, nodes = uuid.uuid4(), uuid.uuid4()
    async with herd:
        await herd.start()
        await order_placed.emit(Order(order_id=1), id=ours, once=60)
        await records.wait("event.end", outcome="completed", event_id=ours)
        script = on_node(f"""
            const add = (id) => queue.add("order.placed", {{ order_id: 2 }}, {{
                deduplication: {{ id, ttl: 60000 }}, removeOnComplete: true }});
            const answers = [(await add("{ours}")).id, await queue.getDeduplicationJobId("{ours}")];
            const added = await add("{nodes}");
            say({{ answers, added: added.id }});
            await done();
        """)
        (told_,) = await script.wait()
        assert told_["answers"] == [str(ours)] * 2
        await records.wait("event.end", outcome="completed", event_id=derived(told_["added"]))
        await order_placed.emit(Order(order_id=3), id=nodes, once=60)
        await script.end()
        last = await order_placed.emit(Order(order_id=4))
        await records.wait("event.end", outcome="completed", event_id=last.id)
    assert len(records.named("event.begin")) == 3


async def test_the_options_of_a_job_that_node_added_win(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=3, delay=0, jitter=0))
    async def order_placed(order: Order, ctx: Context) -> str:
        if order.order_id != 1:
            raise ValueError("as always")
        return "receipt"

    script = on_node("""
        const add = (order_id, options) => queue.add("order.placed", { order_id }, options);
        const kept = await add(1, { removeOnComplete: { count: 5 } });
        const twice = await add(2, { attempts: 2, backoff: { type: "fixed", delay: 300 } });
        const ours = await add(3);
        const gone = await add(4, { attempts: 1, removeOnFail: true });
        say({ ids: [kept.id, twice.id, ours.id, gone.id] });
        await done();
        const job = await queue.getJob(kept.id);
        say({ state: await job.getState(), result: job.returnvalue, made: job.attemptsMade });
    """)
    (said,) = await script.wait()
    kept, twice, ours, gone = said["ids"]
    async with herd:
        await herd.start()
        await records.wait("event.end", outcome="completed", event_id=derived(kept))
        await records.wait("event.end", count=3, outcome="failed")
        assert await left(herd) == {"completed", "failed", kept, twice, ours}
    assert (await script.end())[-1] == {"state": "completed", "result": "receipt", "made": 1}
    begins = {job: [vars(r) for r in records.named("event.begin", event_id=derived(job))] for job in said["ids"]}
    assert [r["attempt"] for r in begins[twice]] == [1, 2]
    # The UUID of a job is the same in each attempt, and its own.
    assert [r["attempt"] for r in begins[ours]] == [1, 2, 3]
    assert [r["attempt"] for r in begins[gone]] == [1]
    first, second = begins[twice]
    assert 0.29 < second["created"] - first["created"] < 2


async def test_node_gets_progress_and_the_result(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed", retry=Retry(attempts=1))
    async def order_placed(order: Order, ctx: Context) -> dict[str, int]:
        await ctx.progress({"percent": 50})
        if order.order_id == 2:
            raise ValueError("no money")
        return {"receipt": order.order_id}

    script = on_node("""
        const heard = events();
        await heard.waitUntilReady();
        for (const event of ["completed", "failed", "progress"])
            heard.on(event, (told) => say({ event, ...told }));
        say({ ready: true });
        const job = await queue.add("order.placed", { order_id: 1 }, { removeOnComplete: 10 });
        say({ finished: await job.waitUntilFinished(heard) });
        await done();
    """)
    await script.wait(has_key("ready"))
    async with herd:
        emitted = await order_placed.emit(Order(order_id=3))
        failing = await order_placed.emit(Order(order_id=2))
        await herd.start()
        (finished,) = await script.wait(has_key("finished"))
        assert finished["finished"] == {"receipt": 1}
        heard = await script.wait(has_key("event"), count=6)
    await script.end()
    by_job = {(each["jobId"], each["event"]): each for each in heard}
    assert by_job[str(emitted.id), "completed"]["returnvalue"] == {"receipt": 3}
    assert by_job[str(emitted.id), "progress"]["data"] == {"percent": 50}
    assert by_job[str(failing.id), "failed"]["failedReason"] == "no money"


async def test_a_failed_event_is_seen_by_node_and_its_retry_runs_here(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    mended = False

    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(order: Order) -> None:
        if not mended:
            raise ValueError(f"no money, try {len(records.named('event.begin'))}")

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=emitted.id)
        mended = True
        script = on_node("""
            const [job] = await queue.getFailed();
            const { id, name, data, failedReason, stacktrace, attemptsMade } = job;
            say({ id, name, data, failedReason, stacktrace, attemptsMade, counts: await queue.getJobCounts() });
            await job.retry();
            await done();
        """)
        (seen,) = await script.wait()
        await records.wait("event.end", outcome="completed", event_id=emitted.id)
        assert await left(herd) == set()
    await script.end()
    assert (seen["id"], seen["name"], seen["data"]) == (str(emitted.id), "order.placed", {"order_id": 1})
    assert (seen["failedReason"], seen["attemptsMade"]) == ("no money, try 2", 2)
    assert [trace.splitlines()[0] for trace in seen["stacktrace"]] == [
        "ValueError: no money, try 1",
        "ValueError: no money, try 2",
    ]
    assert "test_node.py" in seen["stacktrace"][0].splitlines()[1]
    assert (seen["counts"]["failed"], seen["counts"]["waiting"], seen["counts"]["active"]) == (1, 0, 0)
    (again,) = records.named("event.begin", event_id=emitted.id, attempt=3)
    assert vars(again)["fence"] == 3


@pytest.mark.parametrize("how", ["await (await queue.getFailed())[0].retry()", "await queue.retryJobs()"])
async def test_an_event_that_failed_by_stalling_runs_again_when_node_retries_it(
    how: str, herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        emitted = await order_placed.emit(Order(order_id=1))
        queue = (await herd.backend()).queue(order_placed.declaration)
        stalled = ("stc", 2, "ox:beside", 2, "defa", "job stalled more than allowable limit")
        await queue.client.call(queue.keys.slot, "HSET", queue.keys.job(str(emitted.id)), *stalled)
        await herd.start()
        await records.wait("queue.error", source="stalled")
        await until(lambda: queue.client.call(queue.keys.slot, "ZCARD", queue.keys.failed))
        assert not records.named("event.begin")
        script = on_node(f"{how}; await done();")
        await records.wait("event.end", outcome="completed", event_id=emitted.id, attempt=2)
        assert await left(herd) == set()
    await script.end()


async def test_sealed_events_are_json_to_node_which_can_move_and_retry_them(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    mended, seen = False, list[int]()

    @herd.event("order.placed", seal=Keyring({"2026-11": Keyring.generate()}), retry=Retry(attempts=1))
    async def order_placed(order: Order) -> None:
        seen.append(order.order_id)
        if not mended and order.order_id == 1:
            raise ValueError("no money")

    async with herd:
        failing = await order_placed.emit(Order(order_id=1))
        later = await order_placed.emit(Order(order_id=2), delay=600)
        await herd.start()
        await records.wait("event.end", outcome="failed", event_id=failing.id)
        mended = True
        script = on_node("""
            const [failed] = await queue.getFailed();
            const [delayed] = await queue.getDelayed();
            say({ ids: [failed.id, delayed.id], data: [failed.data, delayed.data] });
            await failed.retry();
            await delayed.promote();
            await queue.add("order.placed", failed.data, { jobId: "copied", removeOnComplete: true });
            await queue.add("order.placed", { order_id: 3 }, { jobId: "unsealed", removeOnComplete: true });
            await done();
        """)
        (said,) = await script.wait()
        for event_id in (failing.id, later.id, derived("copied"), derived("unsealed")):
            await records.wait("event.end", outcome="completed", event_id=event_id)
        assert await left(herd) == set()
    await script.end()
    assert said["ids"] == [str(failing.id), str(later.id)]
    assert [list(data) for data in said["data"]] == [["oxherd:sealed"]] * 2
    assert all(data["oxherd:sealed"].startswith("v1.2026-11.") for data in said["data"])
    assert sorted(seen) == [1, 1, 1, 2, 3]


async def test_a_queue_that_node_has_paused_is_processed_once_it_is_resumed(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    @herd.event("order.shipped")
    async def order_shipped(order: Order) -> None: ...

    async with herd:
        await herd.start()
        first = await order_placed.emit(Order(order_id=1))
        await records.wait("event.end", event_id=first.id)
        script = on_node("""
            await queue.pause();
            say({ paused: true });
            await done();
            say({ resumed: Date.now() });
            await queue.resume();
        """)
        await script.wait(has_key("paused"))
        held = [(await order_placed.emit(Order(order_id=number), priority=number)).id for number in (0, 1)]
        for number in range(20):
            other = await order_shipped.emit(Order(order_id=number))
            await records.wait("event.end", event_id=other.id)
        assert not [event_id for event_id in held if records.named("event.begin", event_id=event_id)]
        said = await script.end()
        for event_id in held:
            (begin,) = await records.wait("event.begin", event_id=event_id)
            assert begin.created * 1000 >= said[-1]["resumed"]
            await records.wait("event.end", event_id=event_id, outcome="completed")


async def test_a_trace_comes_from_node_and_goes_back_with_the_events_that_it_causes(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None:
        await order_placed.emit(Order(order_id=2), delay=0.5)

    script = on_node(f"""
        const metadata = JSON.stringify({{ traceparent: "{parent}" }});
        const job = await queue.add("order.placed", {{ order_id: 1 }}, {{ telemetry: {{ metadata }} }});
        say({{ id: job.id }});
        await done();
    """)
    (added,) = await script.wait()
    await script.end()
    async with herd:
        await herd.start()
        await records.wait("event.end", outcome="completed")
        await herd.stop()
        script = on_node("worker(async (job) => say({ telemetry: job.opts.telemetry })); await done();")
        (said,) = await script.wait(has_key("telemetry"))
        await script.end()
    first = derived(added["id"])
    assert json.loads(said["telemetry"]["metadata"]) == {
        "traceparent": parent,
        "oxherd.caused_by": first,
        "oxherd.root": first,
    }


async def test_a_parent_that_returns_before_its_child_has_ended_ends_as_on_a_worker_of_node(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    script = on_node("""
        const add = async (id) => {
            // Due once its child is there.
            await queue.add("order.placed", { order_id: 1 }, { jobId: id, attempts: 2, delay: 500 });
            const parent = { id, queue: queue.qualifiedName };
            await queue.add("order.placed", { order_id: 2 }, { jobId: `${id}-child`, delay: 3600000, parent });
        };
        await add("node");
        const mine = worker(async () => {});
        mine.removeAllListeners("error").on("error", () => {});
        await new Promise((resolve) => mine.on("failed", (job) => job.attemptsMade === 2 && resolve()));
        await mine.close();
        await add("oxherd");
        say({ ready: true });
        await done();
        for (const id of ["node", "oxherd"]) {
            const job = await queue.getJob(id);
            const { attemptsMade, attemptsStarted, failedReason } = job;
            say({ id, state: await job.getState(), attemptsMade, attemptsStarted, failedReason });
        }
    """)
    await script.wait(has_key("ready"))
    async with herd:
        await herd.start()
        await records.wait("event.end", outcome="failed")
        node, ours = [said for said in await script.end() if "id" in said]
    assert [vars(record)["outcome"] for record in records.named("event.end")] == ["retrying", "failed"]
    alike = ("state", "attemptsMade", "attemptsStarted")
    assert [node[each] for each in alike] == [ours[each] for each in alike] == ["failed", 2, 2]
    assert "has pending dependencies" in node["failedReason"]
    assert "has pending dependencies" in ours["failedReason"]


# -- emitted here, processed by Node


async def test_events_emitted_here_are_processed_by_node_in_our_order_with_our_retries(
    herd: Oxherd, on_node: OnNode
) -> None:
    event = herd.declare(
        "order.placed", Order, retry=Retry(attempts=3, delay=0.3, backoff="fixed", jitter=0), keep=Keep(failed=10)
    )
    async with herd:
        begun = time.time() * 1000
        low = await event.emit(Order(order_id=3), priority=5)
        high = await event.emit(Order(order_id=2), priority=1)
        none = await event.emit(Order(order_id=1))
        late = await event.emit(Order(order_id=4), delay=4)
        failing = await event.emit(Order(order_id=13), priority=9)
        script = on_node("""
            worker(async (job) => {
                say({ run: job.id, name: job.name, data: job.data, made: job.attemptsMade, at: Date.now(),
                      attempts: job.opts.attempts, emitted: job.timestamp });
                if (job.data.order_id === 13) throw new Error("as always");
                return "by node";
            }, { concurrency: 1 });
            await done();
            const [job] = await queue.getFailed();
            say({ failed: job.id, reason: job.failedReason, made: job.attemptsMade });
            say({ counts: await queue.getJobCounts() });
        """)
        runs = await script.wait(has_key("run"), count=7)
        runs_of_failing = [run for run in runs if run["run"] == str(failing.id)]
        backend = await herd.backend()
        queue = backend.queue(event.declaration)

        async def settled() -> bool:
            return (await queue.counts())["failed"] == 1

        await until(settled)
        said = await script.end()
        assert await left(herd) == {"failed", str(failing.id)}
    assert [run["run"] for run in runs[:4]] == [str(each.id) for each in (none, high, low, failing)]
    assert {(run["name"], run["attempts"]) for run in runs} == {("order.placed", 3)}
    assert [run["data"] for run in runs[:3]] == [{"order_id": 1}, {"order_id": 2}, {"order_id": 3}]
    assert all(begun - 1000 < run["emitted"] < begun + 5000 for run in runs)
    (delayed,) = [run for run in runs if run["run"] == str(late.id)]
    assert delayed["at"] >= delayed["emitted"] + 4000
    assert [run["made"] for run in runs_of_failing] == [0, 1, 2]
    assert all(b["at"] - a["at"] >= 290 for a, b in pairwise(runs_of_failing))
    assert said[-2] == {"failed": str(failing.id), "reason": "as always", "made": 3}
    assert said[-1]["counts"]["completed"] == 0


async def test_the_same_id_adds_no_second_job_from_either_side(herd: Oxherd, on_node: OnNode) -> None:
    event = herd.declare("order.placed", Order)
    async with herd:
        emitted = await event.emit(Order(order_id=1))
        script = on_node(f"""
            await queue.add("order.placed", {{ order_id: 2 }}, {{ jobId: "{emitted.id}" }});
            const other = "{uuid.uuid4()}";
            await queue.add("order.placed", {{ order_id: 3 }}, {{ jobId: other }});
            say({{ other }});
            await done();
            say({{ counts: await queue.getJobCounts(), first: (await queue.getJob("{emitted.id}")).data }});
        """)
        (said,) = await script.wait()
        await event.emit(Order(order_id=4), id=uuid.UUID(said["other"]))
        last = (await script.end())[-1]
    assert last["counts"]["waiting"] == 2
    assert last["first"] == {"order_id": 1}


async def test_workers_of_both_share_one_queue_and_run_each_event_once(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    total = 300

    @herd.event("order.placed", concurrency=5)
    async def order_placed(order: Order) -> None:
        await asyncio.sleep(0.005)

    script = on_node("""
        const mine = worker(async (job) => {
            say({ run: job.id });
            await new Promise((resolve) => setTimeout(resolve, 5));
        }, { concurrency: 5 });
        await mine.waitUntilReady();
        say({ ready: true });
        await done();
    """)
    await script.wait(has_key("ready"))
    async with herd:
        await herd.start()
        emitted = await order_placed.emit_many([Order(order_id=number) for number in range(total)])
        backend = await herd.backend()
        queue = backend.queue(order_placed.declaration)

        async def empty() -> bool:
            counts = await queue.counts()
            return not any(counts.values())

        await until(empty)
        assert await left(herd) == set()
    by_node = [said["run"] for said in await script.end() if "run" in said]
    here = [vars(record)["event_id"] for record in records.named("event.begin")]
    assert sorted(by_node + here) == sorted(str(each.id) for each in emitted)
    assert by_node
    assert here


# -- schedules


SCHEDULERS = {
    "pattern": ('{ pattern: "* * * * * *" }', 1.0),
    "pattern with a time zone": ('{ pattern: "* * * * * *", tz: "Europe/Paris" }', 1.0),
    "every": ("{ every: 400 }", 0.4),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
async def test_a_scheduler_of_node_continues_here(kind: str, herd: Oxherd, on_node: OnNode, records: Records) -> None:
    repeat, seconds = SCHEDULERS[kind]
    seen: list[int] = []

    @herd.event("order.placed")
    async def order_placed(order: Order) -> None:
        seen.append(order.order_id)

    script = on_node(f"""
        await queue.upsertJobScheduler("nightly", {repeat}, {{ name: "order.placed", data: {{ order_id: 7 }} }});
        say({{ ready: true }});
        await done();
        const [scheduler] = await queue.getJobSchedulers();
        say({{ scheduler }});
        say({{ removed: await queue.removeJobScheduler("nightly") }});
    """)
    await script.wait(has_key("ready"))
    async with herd:
        await herd.start()
        await records.wait("event.end", count=4, outcome="completed")
        *_, scheduler, removed = await script.end()
        assert removed == {"removed": True}
        await herd.stop()
        # A tick that began just before it was removed has put no other in its place.
        assert "delayed" not in await left(herd)
    assert set(seen) == {7}
    assert (scheduler["scheduler"]["key"], scheduler["scheduler"]["name"]) == ("nightly", "order.placed")
    assert scheduler["scheduler"]["iterationCount"] >= 4
    begins = [vars(r) for r in records.named("event.begin")]
    assert len({r["event_id"] for r in begins}) == len(begins)
    # The first tick of an interval is at once; from the next on they are the interval's multiples, each one once.
    assert len(begins) <= (begins[-1]["created"] - begins[0]["created"]) / seconds + 2


async def test_a_limit_set_by_node_ends_a_scheduler(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    script = on_node("""
        const template = { name: "order.placed", data: { order_id: 7 } };
        await queue.upsertJobScheduler("thrice", { every: 150, limit: 3 }, template);
        say({ ready: true });
        await done();
    """)
    await script.wait(has_key("ready"))
    async with herd:
        await herd.start()
        await records.wait("event.end", count=3, outcome="completed")
        await script.end()

        async def pending() -> bool:
            return "delayed" in await left(herd)

        assert not await pending()
        await herd.stop()
    assert len(records.named("event.begin")) == 3


SCHEDULES: dict[str, tuple[Cron | Every, int]] = {
    "cron": (Cron("* * * * * *", tz="Europe/Paris"), 1000),
    "every": (Every(0.5), 500),
}


@pytest.mark.parametrize("kind", SCHEDULES)
async def test_a_schedule_stored_here_continues_on_node(kind: str, herd: Oxherd, on_node: OnNode) -> None:
    schedule, milliseconds = SCHEDULES[kind]
    event = herd.declare("order.placed", Order)
    async with herd:
        await event.schedule("nightly", schedule, Order(order_id=7))
        script = on_node("""
            worker(async (job) => { say({ tick: job.id, name: job.name, data: job.data, key: job.repeatJobKey }); });
            await done();
        """)
        ticks = await script.wait(has_key("tick"), count=4)
        assert await event.unschedule("nightly")
        await script.end()
    assert {(tick["name"], tick["data"]["order_id"], tick["key"]) for tick in ticks} == {("order.placed", 7, "nightly")}
    times = [int(tick["tick"].rpartition(":")[2]) for tick in ticks]
    assert len(set(times)) == len(times)
    assert all(at % milliseconds == 0 for at in times), times


async def test_a_schedule_goes_from_here_to_node_and_back(herd: Oxherd, on_node: OnNode, records: Records) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    async with herd:
        await order_placed.schedule("nightly", Every(0.5), Order(order_id=7))
        await herd.start()
        await records.wait("event.end", count=2, outcome="completed")
        await herd.stop()
        script = on_node("worker(async (job) => say({ tick: job.id })); await done();")
        await script.wait(has_key("tick"), count=2)
        by_node = [derived(said["tick"]) for said in await script.end()]
        before = len(records.named("event.end"))
        await herd.start()
        await records.wait("event.end", count=before + 2, outcome="completed")
        await order_placed.unschedule("nightly")
    here = [vars(record)["event_id"] for record in records.named("event.begin")]
    assert len(set(by_node + here)) == len(by_node + here)


# -- events that expire


async def test_a_job_of_nodes_that_has_expired_is_dropped_and_node_hears_of_it(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    script = on_node("""
        const heard = events();
        heard.on("failed", (told) => say({ failed: told.jobId, why: told.failedReason }));
        heard.on("completed", (told) => say({ completed: told.jobId }));
        await heard.waitUntilReady();
        const add = (jobId, expires, more = {}) =>
            queue.add("order.placed", { order_id: 1 }, { jobId, "ox:expires": expires, attempts: 3, ...more });
        await add("late", 1);
        await add("late-with-priority", 1, { priority: 2 });
        await add("in-time", 600000, { removeOnComplete: true });
        await add("odd", "soon", { removeOnComplete: true });
        await new Promise((next) => setTimeout(next, 50));
        say({ added: true });
        await done();
        say({ kept: await queue.getFailedCount(), there: (await queue.getJob("late")) === undefined });
    """)
    await script.wait(has_key("added"))
    async with herd:
        await herd.start()
        await records.wait("event.expired", count=2)
        await records.wait("event.end", count=2, outcome="completed")
        told = await script.wait(has_key("failed"), count=2)
        await script.wait(has_key("completed"), count=2)
        assert (await script.end())[-1] == {"kept": 0, "there": True}
        assert not await left(herd)
    assert {each["failed"] for each in told} == {"late", "late-with-priority"}
    assert {each["why"] for each in told} == {"expired before its first begin"}
    assert len(records.named("event.begin")) == 2


@pytest.mark.parametrize(
    ("policy", "heard"),
    [
        ("failParentOnFailure", {"failed": "parent"}),
        ("continueParentOnFailure", {"completed": "parent"}),
        ("ignoreDependencyOnFailure", {"completed": "parent"}),
        ("removeDependencyOnFailure", {"completed": "parent"}),
    ],
)
async def test_a_parent_hears_of_a_child_that_has_expired_as_of_any_that_failed(
    policy: str, heard: dict[str, str], herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(order: Order) -> None: ...

    script = on_node(
        """
        const heard = events();
        for (const name of ["failed", "completed"]) heard.on(name, (told) => say({ [name]: told.jobId }));
        await heard.waitUntilReady();
        const place = { name: "order.placed", queueName: "{order.placed}", data: { order_id: 1 } };
        const child = { ...place, opts: { jobId: "child", "ox:expires": 1, POLICY: true } };
        await flows().add({ ...place, opts: { jobId: "parent" }, children: [child] });
        await new Promise((next) => setTimeout(next, 50));
        say({ added: true });
        await done();
    """.replace("POLICY", policy)
    )
    await script.wait(has_key("added"))
    async with herd:
        await herd.start()
        await records.wait("event.expired", event_id=derived("child"))
        await script.wait(lambda said: said == heard)
    await script.end()


async def test_a_worker_of_nodes_runs_what_has_expired(herd: Oxherd, on_node: OnNode) -> None:
    event = herd.declare("order.placed", Order, expires=0.001)
    async with herd:
        await event.emit(Order(order_id=7))
        script = on_node("""
            const run = async (job) => say({ ran: job.data.order_id, expires: job.opts["ox:expires"] });
            await worker(run).waitUntilReady();
            await done();
        """)
        assert await script.wait(has_key("ran")) == [{"ran": 7, "expires": 1}]
        await script.end()
