"""A signal to a command that starts and stops servers: each part ends in order, then the command."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.harness import DEADLINE

PROGRAM = """
import asyncio, sys, time
from oxherd.cli.terminal import Interrupts

interrupts = Interrupts()

def moment(now):
    print(now, flush=True)
    if now == sys.argv[1]:
        sys.stdin.readline()  # until the signal has been sent
        sys.stdin.readline()  # and again

async def work():
    await asyncio.to_thread(moment, "running")
    await asyncio.sleep(600 if sys.argv[1] == "running" else 0)

try:
    moment("starting")
    try:
        interrupts.run(work())
    finally:
        moment("stopping")
        interrupts.check()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("told", ["starting", "running", "stopping"])
def test_a_signal_ends_a_command_in_order_whenever_it_comes(told: str, number: signal.Signals, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        seen = ""
        while told not in seen:
            seen += process.stdout.readline()
        for _ in range(2):
            process.send_signal(number)
            process.stdin.write("\n")
            process.stdin.flush()
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (status, "")
    assert (seen + out).split()[-1] == "stopping"
