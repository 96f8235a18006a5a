"""What Node's workers, boards and producers make of unique events."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest

from oxherd import Debounce, Oxherd, Unique
from tests.harness import until
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node

# A slow one ends once there is a delayed job.
WORKER = """
    worker(async (job) => {
        say({ began: job.data });
        const pause = () => new Promise((next) => setTimeout(next, 50));
        while (job.data === "slow" && !(await queue.getDelayedCount())) await pause();
        return job.data;
    });
    await done();
"""


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Node shares both kinds of servers with us."""
    server: Any = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


def same(text: str) -> str | None:
    return None if text == "go" else "ann"


HASH = sha256(b"order.placed\0ann").hexdigest()


async def test_nodes_worker_frees_a_key_and_begins_what_follows(herd: Oxherd, on_node: OnNode) -> None:
    event = herd.declare("order.placed", str, key=same, unique=Unique(until="done", keep_last=True), result=str)
    script = on_node(WORKER)
    async with herd:
        first = await event.emit("slow")
        await script.wait(lambda said: said.get("began") == "slow")
        follower = await event.emit("second")
        last = await event.emit("third")
        assert (follower.duplicate, last.duplicate, last.id) == (False, True, follower.id)
        answer = asyncio.create_task(follower.result(20))
        await event.emit("go", delay=3600)
        assert await first.result(20) == "slow"
        assert await answer == "third"
        assert not (await event.emit("fourth")).duplicate
        await script.wait(lambda said: said.get("began") == "fourth")
    said = await script.end()
    assert [each["began"] for each in said if "began" in each] == ["slow", "third", "fourth"]


async def test_nodes_worker_runs_a_debounced_event_when_it_is_due(herd: Oxherd, on_node: OnNode) -> None:
    event = herd.declare("order.placed", str, key=same, unique=Debounce(wait=0.5), result=str)
    script = on_node("say('up'); " + WORKER)
    async with herd:
        await script.wait()
        emits = [await event.emit("first"), await event.emit("second")]
        assert await emits[0].result(20) == "second"
        assert not (await event.emit("third")).duplicate
        await script.wait(lambda said: said != "up" and said.get("began") == "third")
    said = await script.end()
    assert [each["began"] for each in said if each != "up" and "began" in each] == ["second", "third"]


async def test_a_board_of_nodes_sees_the_deduplication_and_frees_the_key_of_what_it_removes(
    herd: Oxherd, on_node: OnNode
) -> None:
    event = herd.declare("order.placed", str, key=same, unique=Unique(until="done"))
    async with herd:
        first = await event.emit("first")
        script = on_node(f"""
            const holder = await queue.getDeduplicationJobId({json.dumps(HASH)});
            const job = await queue.getJob(holder);
            say({{ holder, id: job.deduplicationId, options: job.opts.deduplication }});
            await job.remove();
            say("removed");
            await done();
        """)
        await script.wait(lambda said: said == "removed")
        assert script.said[0] == {"holder": str(first.id), "id": HASH, "options": {"id": HASH}}
        assert not (await event.emit("second")).duplicate
        await script.end()


async def test_a_producer_of_nodes_can_take_part_in_until_done_and_within(herd: Oxherd, on_node: OnNode) -> None:
    done = herd.declare("order.placed", str, key=same, unique=Unique(until="done"))
    async with herd:
        script = on_node(f"""
            const add = (data) => queue.add("order.placed", data, {{ deduplication: {{ id: {json.dumps(HASH)} }} }});
            say({{ id: (await add("of Node")).id }});
            await done();
            say({{ again: (await add("again")).id }});
        """)
        (told,) = await script.wait()
        emitted = await done.emit("of oxherd")
        assert emitted.duplicate
        assert emitted.job[1] == told["id"]
        queue = (await herd.backend()).queue(done.declaration)
        await until(lambda: queue.holds(str(told["id"])))
        said = await script.end()
        assert said[-1] == {"again": told["id"]}
