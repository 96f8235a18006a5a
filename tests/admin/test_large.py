"""With a million events waiting and a hundred thousand failed, each read takes less than a second's work."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from oxherd import Oxherd
from oxherd.servers.standalone import StandaloneServer
from tests.admin.filled import fill_failed, fill_waiting, id_of

pytestmark = pytest.mark.slow

WAITING, FAILED = 1_000_000, 100_000
# Seconds of processor time, the server's and ours together: whatever else the machine does, a little less is the wait.
LIMIT = 1.0
# Of a search that finds nothing among all that wait: 2 to 4 s, by the speed of memory.
LONG_LIMIT = 8.0


def worked(server: StandaloneServer) -> float:
    """The processor time that the server and this process have used, in seconds."""
    used = re.findall(r"used_cpu_(?:sys|user):([\d.]+)", str(server.command("INFO", "cpu")))
    return sum(map(float, used)) + time.process_time()


async def test_each_read_of_a_large_queue_is_quick_and_a_retry_of_all_is_stopped_and_gone_on_with() -> None:
    with StandaloneServer() as server:
        herd = Oxherd(server.url)
        herd.declare("order.placed", dict[str, int])
        async with herd:
            queue = (await herd.backend()).queue(herd["order.placed"].declaration)
            await fill_waiting(queue, WAITING)
            await fill_failed(queue, FAILED)
            admin = herd.admin
            reads: dict[str, Awaitable[Any]] = {
                "events": admin.events(),
                "find": admin.find(limit=50).all(),
                "find waiting": admin.find(state="waiting", limit=50).all(),
                "find by class": admin.find(error_type="Nobody", limit=50).all(),
                "find by text": admin.find(error="no stock of 54321", limit=50).all(),
                "find by time": admin.find(since=3600, limit=50).all(),
                "show": admin.show(id_of("waiting", 500_000)),
                "show a derived id": admin.show("00000000-0000-5000-8000-000000000000"),
                "unknown queues": admin.unknown_queues(),
                "schedules": admin.schedules(),
                "workers": admin.workers(),
            }
            took: dict[str, float] = {}
            for name, read in reads.items():
                began = worked(server)
                await read
                took[name] = worked(server) - began
            assert max(took.values()) < LIMIT, took
            began = worked(server)
            assert await admin.find(state="waiting", since=60, limit=50).all() == []
            assert worked(server) - began < LONG_LIMIT, "the time of each that waits is read"
            bulk = admin.retry("order.placed")
            async for progress in bulk:
                if progress.done >= FAILED // 2:
                    bulk.stop()
            assert FAILED // 2 <= bulk.summary.done < FAILED
            summary = await bulk.run()
            assert (summary.done, summary.total) == (FAILED, FAILED)
            bulk = admin.cancel("order.placed")
            began = worked(server)
            async for progress in bulk:
                if progress.done >= 10_000:
                    bulk.stop()
            assert worked(server) - began < 10, "what is cancelled is looked for from the end where it is"
