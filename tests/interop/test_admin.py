"""`herd.admin` on jobs that Node has added and failed: found, told and retried, with nothing of a payload."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel

from oxherd import Mask, Oxherd
from oxherd.servers.local_cluster import LocalCluster
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


class Order(BaseModel):
    email: Annotated[str, Mask("email")]


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_what_nodes_worker_has_failed_is_told_without_its_payload_and_retried_for_it(
    herd: Oxherd, on_node: OnNode
) -> None:
    herd.declare("order.placed", Order)
    node = on_node("""
        let fails = true;
        const worked = worker(async (job) => {
            if (fails) throw new Error(`no mail for ${job.data.email}`);
            say("completed");
        });
        worked.on("failed", () => say("failed"));
        await queue.add("order.placed", { email: "alice@example.com" }, { jobId: "alice@example.com" });
        await done();
        say({ counts: await queue.getJobCounts() });
    """)
    async with herd:
        await node.wait(lambda said: said == "failed")
        (row,) = await herd.admin.find(error="no mail for").all()
        assert row.error is not None
        assert row.error.message == "no mail for ***"
        assert await herd.admin.find(error="alice@example.com").all() == []
        story = await herd.admin.show(row.id)
        assert story is not None
        assert story.payload == {"email": "a***@***"}
        (attempt,) = story.attempts
        assert attempt.error is not None
        assert (attempt.number, attempt.error.type, attempt.error.message) == (1, "Error", "no mail for ***")
        assert attempt.seconds is not None
        assert "alice" not in repr((row, story))
        assert (await herd.admin.retry(ids=[row.id]).run()).done == 1
        await node.wait(lambda said: said == "failed", count=2)
        await node.end()
        assert (await herd.admin.discard("order.placed").run()).done == 1
        assert (await herd.admin.events())[0].failed == 0


async def test_nodes_listeners_hear_of_what_is_retried_promoted_and_discarded(herd: Oxherd, on_node: OnNode) -> None:
    herd.declare("order.placed", int)
    node = on_node("""
        const heard = events();
        heard.on("removed", ({ jobId }) => say({ removed: jobId }));
        heard.on("waiting", ({ jobId, prev }) => say({ waiting: jobId, prev }));
        await heard.waitUntilReady();
        await queue.add("order.placed", 1, { jobId: "late", delay: 3600000 });
        await queue.add("order.placed", 1, { jobId: "next" });
        say("added");
        await done();
        say({ counts: await queue.getJobCounts() });
    """)
    async with herd:
        await node.wait(lambda said: said == "added")
        assert (await herd.admin.promote("order.placed").run()).done == 1
        await node.wait(lambda said: said == {"waiting": "late", "prev": "delayed"})
        assert (await herd.admin.discard("order.placed", state="waiting").run()).done == 2
        await node.wait(lambda said: isinstance(said, dict) and "removed" in said, count=2)
        said = await node.end()
    (counts,) = [each["counts"] for each in said if "counts" in each]
    assert (counts["waiting"], counts["delayed"]) == (0, 0)
