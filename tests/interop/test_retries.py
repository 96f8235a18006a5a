"""Attempts that Node and oxherd share: what is stored is BullMQ's, the rest is the worker's own."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from oxherd import Context, Oxherd, Retry, Snooze
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records, until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Node shares both kinds of servers with us."""
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


def no_delay(attempt: int, error: BaseException) -> float:
    return 0


async def test_node_retries_an_event_whose_delay_is_a_function_after_the_exponential_delay(
    herd: Oxherd, on_node: OnNode
) -> None:
    retry = Retry(attempts=3, delay=0.3, jitter=0, backoff=no_delay, never=Exception)
    event = herd.declare("order.placed", int, retry=retry)
    async with herd:
        emitted = await event.emit(1)
        script = on_node("""
            worker(async (job) => {
                say({ at: Date.now(), made: job.attemptsMade, attempts: job.opts.attempts, backoff: job.opts.backoff });
                throw new Error("as always");
            });
            await done();
            const [job] = await queue.getFailed();
            say({ failed: job.id, made: job.attemptsMade });
        """)
        runs = await script.wait(count=3)
        queue = (await herd.backend()).queue(event.declaration)

        async def has_failed() -> bool:
            return (await queue.counts())["failed"] == 1

        await until(has_failed)
        said = await script.end()
    assert said[-1] == {"failed": str(emitted.id), "made": 3}
    assert [run["made"] for run in runs] == [0, 1, 2]
    assert {run["attempts"] for run in runs} == {3}
    assert all(run["backoff"] == {"type": "exponential", "delay": 300, "jitter": 0} for run in runs)
    waits = [later["at"] - earlier["at"] for earlier, later in pairwise(runs)]
    assert waits[0] >= 290
    assert waits[1] >= 590


async def test_a_job_of_nodes_has_its_own_attempts_and_delay_and_the_functions_where_it_says_nothing(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    asked: list[str] = []

    def backoff(attempt: int, error: BaseException) -> float:
        asked.append(str(error))
        return 0.01

    @herd.event("order.placed", retry=Retry(attempts=2, delay=60, backoff=backoff, never=KeyError))
    async def order_placed(number: int) -> None:
        raise KeyError if number == 3 else ValueError(f"of {number}")

    script = on_node("""
        const add = (number, options) => queue.add("order.placed", number, options);
        const jobs = [
            await add(1, { attempts: 3, backoff: { type: "fixed", delay: 50 } }),
            await add(2, {}),
            await add(3, { attempts: 9 }),
        ];
        say({ ids: jobs.map((job) => job.id) });
        await done();
        const failed = await Promise.all(jobs.map((job) => queue.getJob(job.id)));
        say({ made: failed.map((job) => job.attemptsMade) });
    """)
    await script.wait()
    async with herd:
        await herd.start()
        await records.wait("event.end", count=3, outcome="failed")
    said: list[Any] = await script.end()
    assert said[-1] == {"made": [3, 2, 1]}
    assert asked == ["of 2"]
    assert sorted(vars(each)["retry_in_ms"] for each in records.named("event.end", outcome="retrying")) == [10, 50, 50]


async def test_an_event_that_is_snoozed_here_has_spent_no_attempt_for_node(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed")
    async def order_placed(number: int, ctx: Context) -> None:
        raise Snooze(3)

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", outcome="retrying", event_id=emitted.id)
        snoozed = time.time()
        await herd.stop()
        script = on_node("""
            const [job] = await queue.getDelayed();
            say({ state: await job.getState(), made: job.attemptsMade, failedReason: job.failedReason ?? null });
            worker(async (job) => {
                say({ ran: job.id, made: job.attemptsMade, started: job.attemptsStarted, at: Date.now() });
            });
            await done();
        """)
        state, run = await script.wait(count=2)
        await script.end()
    assert state == {"state": "delayed", "made": 0, "failedReason": None}
    assert (run["ran"], run["made"], run["started"]) == (str(emitted.id), 0, 2)
    assert run["at"] >= (snoozed + 2.9) * 1000
