"""How long two runs of one event, one here and one on Node, can overlap."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.drills.worker_log import seconds
from tests.harness import WorkerProcess
from tests.interop.node_script import NodeScript
from tests.node import node_packages, require_node

pytestmark = pytest.mark.node

LOCK = 1.5
# A worker checks its locks every third of a lock, and at once if that is overdue.
LONGEST = LOCK / 3 + 0.5

APP = f"""
import asyncio
from oxherd import Context, Oxherd

herd = Oxherd(prefix={{prefix!r}})

@herd.event("order.placed", lock={LOCK}, max_stalls=5)
async def order_placed(order: dict[str, int], ctx: Context) -> None:
    await asyncio.sleep(60)
"""


@pytest.fixture
def on_node(standalone: str, prefix: str) -> Iterator[NodeScript]:
    """A worker on Node that checks for stalled jobs twice a second, and takes three seconds for each job."""
    require_node()
    script = NodeScript(
        "node",
        node_packages(),
        standalone,
        prefix,
        "{order.placed}",
        """
        worker(async (job) => {
            say({ began: Date.now() / 1000, id: job.id, started: job.attemptsStarted });
            await new Promise((resolve) => setTimeout(resolve, 3000));
            say({ ended: Date.now() / 1000 });
        }, { stalledInterval: 500, lockDuration: 1500, maxStalledCount: 5, concurrency: 1 });
        say({ ready: true });
        await done();
        """,
    )
    yield script
    script.close()


async def test_a_run_that_node_has_taken_over_is_cancelled_soon_after_its_worker_resumes(
    standalone: str,
    prefix: str,
    tmp_path: Path,
    start_worker: Callable[..., WorkerProcess],
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP).format(prefix=prefix))
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("order.placed", dict[str, int])
    worker = start_worker(url=standalone)
    worker.wait("worker.start")
    async with herd:
        emitted = await event.emit({"order_id": 1})
        worker.wait("event.begin")
        node: NodeScript = request.getfixturevalue("on_node")
        await node.wait(lambda said: "ready" in said)
        worker.signal(signal.SIGSTOP)
        (began,) = await node.wait(lambda said: "began" in said)
        worker.signal(signal.SIGCONT)
        worker.wait("event.end", outcome="lost")
        (ended,) = await node.wait(lambda said: "ended" in said)
    assert (began["id"], began["started"]) == (str(emitted.id), 2)
    lost = next(record for record in worker.records() if record["msg"] == "event.end")
    overlap = min(seconds(lost), ended["ended"]) - began["began"]
    assert 0 < overlap < LONGEST, overlap
    assert lost["error"]["type"] == "LockLost"
    # The older run has written nothing: the event is Node's.
    assert worker.count("event.begin") == 1
    assert worker.stop() == 0
