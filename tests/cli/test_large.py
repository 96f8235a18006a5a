"""The commands on an event of which a million wait and a hundred thousand have failed."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.servers.standalone import StandaloneServer
from tests.admin.filled import fill_failed, fill_waiting, id_of
from tests.harness import cli, environment, until

pytestmark = pytest.mark.slow

WAITING, FAILED = 1_000_000, 100_000
APP = 'from oxherd import Oxherd\nherd = Oxherd()\nherd.declare("order.placed", dict[str, int])\n'
# Seconds of processor time of the command and the server, whatever else the machine does; Python's start and imports
# are more than half of one.
LIMIT = 2.0

READS = [
    ("ls",),
    ("find", "order.placed"),
    ("find", "order.placed", "--state", "waiting"),
    ("find", "order.placed", "--error", "no stock of 54321"),
    ("find", "order.placed", "--error-type", "Nobody"),
    ("find", "order.placed", "--since", "1h"),
    ("show", str(id_of("waiting", 500_000))),
    ("schedules",),
    ("workers",),
    ("limits", "order.placed"),
    ("doctor",),
]


def used(server: StandaloneServer) -> float:
    """The processor time of the server and of the commands that have ended."""
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    its = re.findall(r"used_cpu_(?:sys|user):([\d.]+)", str(server.command("INFO", "cpu")))
    return sum(map(float, its)) + ours.ru_utime + ours.ru_stime


async def test_each_command_is_quick_and_a_retry_of_all_is_stopped_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with StandaloneServer() as server:
        herd = Oxherd(server.url)
        event = herd.declare("order.placed", dict[str, int])
        async with herd:
            queue = (await herd.backend()).queue(event.declaration)
            await fill_waiting(queue, WAITING)
            await fill_failed(queue, FAILED)
            took: dict[str, float] = {}
            for words in READS:
                began = used(server)
                done = cli(tmp_path, words[0], "app:herd", *words[1:], url=server.url)
                assert done.returncode in (0, 1), done
                took[" ".join(words)] = used(server) - began
            assert max(took.values()) < LIMIT, took

            retry = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
                [sys.executable, "-m", "oxherd", "retry", "app:herd", "--all", "--yes"],
                cwd=tmp_path,
                env=environment(OXHERD_URL=server.url),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

            async def some_are_retried() -> bool:
                return (await herd.admin.events())[0].failed < FAILED - 2_000

            await until(some_are_retried)
            retry.send_signal(signal.SIGINT)
            said, told = retry.communicate(timeout=60)
            stopped = int(said.split()[0].replace(",", ""))
            assert retry.returncode == 130
            assert 2_000 < stopped < FAILED
            assert (await herd.admin.events())[0].failed == FAILED - stopped
            go_on = told.split("to go on: oxherd ")[1].split()
            rest = cli(tmp_path, *go_on, url=server.url)
            assert rest.stdout.startswith(f"{FAILED - stopped:,} retried"), rest
            row = (await herd.admin.events())[0]
            assert (row.failed, row.waiting) == (0, WAITING + FAILED)
