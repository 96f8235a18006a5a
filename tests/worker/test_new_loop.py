"""A herd in one event loop after the other: each start is one of its own, whatever became of the loop before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oxherd import Event, Oxherd
from tests.harness import PYTEST, environment, run, until

FORGETFUL = """
import asyncio, gc
import pytest, pytest_asyncio
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)
got = []

@herd.event("order.placed")
async def order_placed(number: int) -> None:
    got.append(number)

@pytest_asyncio.fixture
async def started():
    await herd.start()

@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.asyncio
async def test_it_is_processed(started, number):
    await order_placed.emit(number)
    async with asyncio.timeout(5):
        while number not in got:
            await asyncio.sleep(0.01)
    assert herd.health().ready
"""


def test_a_fixture_that_forgets_the_stop_spoils_no_later_test(standalone: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FORGETFUL.replace("PREFIX", repr(prefix)))
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    done = run(tmp_path, *PYTEST, "-q", "-W", "error", *scope, "test_it.py", OXHERD_URL=standalone)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


ANEW = """
import asyncio, sys, threading
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)
got = []

@herd.event("order.placed")
async def order_placed(number: int) -> None:
    got.append(number)

async def works(number, stop=False):
    await herd.start()
    # A loop that is left open, as a suspended process, may take one of them.
    await order_placed.emit_many([number] * 3)
    async with asyncio.timeout(10):
        while got.count(number) < 2:
            await asyncio.sleep(0.01)
    assert herd.health().ready
    if stop:
        await herd.stop()

def ended():
    asyncio.run(works(1))

def left_open():
    loop.run_until_complete(works(1))

def closed():
    loop.run_until_complete(works(1))
    loop.close()

def in_a_thread():
    thread = threading.Thread(target=ended)
    thread.start()
    thread.join()

loop = asyncio.new_event_loop()
globals()[sys.argv[1]]()
health = herd.health()
assert (health.live, health.ready, health.events) == (True, False, []), health
asyncio.run(herd.stop())
order_placed.emit_sync(2)
asyncio.run(works(3, stop=True))
assert not herd.health().events
herd.close_sync()
print("done")
"""


@pytest.mark.parametrize("first", ["ended", "left_open", "closed", "in_a_thread"])
def test_a_start_in_a_new_loop_starts_anew_whatever_became_of_the_old_one(
    first: str, standalone: str, prefix: str
) -> None:
    command = [sys.executable, "-c", ANEW.replace("PREFIX", repr(prefix)), first]
    done = subprocess.run(command, env=environment(OXHERD_URL=standalone), capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_a_loop_that_ended_is_forgotten_and_leaves_no_connection(local_herd: Oxherd, prefix: str) -> None:
    event: Event[int, None] = local_herd.declare("order.placed", int)

    async def emit() -> None:
        await event.emit(1)

    for _ in range(3):
        asyncio.run(emit())
    assert not local_herd._sessions.all  # pyright: ignore[reportPrivateUsage]


def test_a_forked_child_starts_on_its_own_account(local_herd: Oxherd) -> None:
    got: list[int] = []

    @local_herd.event("order.placed")
    async def order_placed(number: int) -> None:
        got.append(number)

    async def works(number: int) -> None:
        await local_herd.start()
        # The parent, whose loop stands still meanwhile, may take one of them.
        await order_placed.emit_many([number] * 3)
        await until(lambda: got.count(number) >= 2)

    with asyncio.Runner() as runner:
        runner.run(works(1))
        child = os.fork()
        if not child:
            try:
                assert not local_herd.health().events
                asyncio.run(works(2))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        runner.run(works(3))
        runner.run(local_herd.stop())
