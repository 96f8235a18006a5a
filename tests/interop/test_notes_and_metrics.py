"""What Node's boards read of what ran here: the notes of a job, and the metrics that a queue was asked for."""

from __future__ import annotations

import pytest

from oxherd import Context, Keep, Oxherd, Retry
from oxherd.servers.local_cluster import LocalCluster
from tests.harness import Records
from tests.interop.node_script import OnNode

pytestmark = pytest.mark.node


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Node shares both kinds of servers with us."""
    server: str | LocalCluster = request.getfixturevalue(request.param)
    return server if isinstance(server, str) else server.url


async def test_node_reads_the_notes_of_a_job_and_writes_among_them(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed", keep=Keep(completed=10))
    async def order_placed(number: int, ctx: Context) -> None:
        await ctx.note("asking the bank")
        await ctx.note("paid")

    async with herd:
        emitted = await order_placed.emit(1)
        await herd.start()
        await records.wait("event.end", outcome="completed")
        script = on_node(f"""
            say(await queue.getJobLogs("{emitted.id}"));
            const job = await queue.getJob("{emitted.id}");
            await job.log("seen by Node");
            await done();
        """)
        (logs,) = await script.end()
        assert logs == {"logs": ["asking the bank", "paid"], "count": 2}
        story = await herd.admin.show(emitted.id)
        assert story is not None
        assert story.notes == ("asking the bank", "paid", "seen by Node")


async def test_node_reads_its_metrics_of_what_completed_and_failed_here(
    herd: Oxherd, on_node: OnNode, records: Records
) -> None:
    @herd.event("order.placed", retry=Retry(attempts=2, delay=0))
    async def order_placed(number: int) -> None:
        if number % 2:
            raise ValueError("no")

    async with herd:
        node = on_node("""
            const collecting = worker(async () => { throw new UnrecoverableError("begin"); },
              { metrics: { maxDataPoints: 60 } });
            await queue.add("order.placed", 1);
            await new Promise((resolve) => collecting.on("failed", resolve));
            await collecting.close();
            const completing = worker(async () => 1, { metrics: { maxDataPoints: 60 } });
            await queue.add("order.placed", 0);
            await new Promise((resolve) => completing.on("completed", resolve));
            await completing.close();
            say("collected");
            await done();
            for (const kind of ["completed", "failed"]) say((await queue.getMetrics(kind)).meta.count);
        """)
        await node.wait(lambda said: said == "collected")
        await herd.start()
        await order_placed.emit_many([0, 1, 2, 3, 5])
        await records.wait("event.end", count=8)
        await herd.stop()
        _, completed, failed = await node.end()
        assert (completed, failed) == (3, 4), "a run that is tried again is neither"
