"""What a worker process sets up for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import environment

APP = """
import os, signal, sys
from oxherd import Oxherd

sys.setswitchinterval(float(sys.argv[1]))
herd = Oxherd()

@herd.event("turns.asked")
async def turns_asked(_: int) -> None:
    print(sys.getswitchinterval())
    os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    turns_asked.emit_sync(1)
    status = herd.run()
    print(sys.getswitchinterval())
    sys.exit(status)
"""


@pytest.mark.parametrize(("before", "within"), [(0.005, 0.0005), (0.02, 0.02), (0.0001, 0.0001)])
def test_threads_take_short_turns_in_a_worker_process_unless_somebody_has_chosen(
    before: float, within: float, tmp_path: Path, standalone: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "app.py", str(before)],
        cwd=tmp_path,
        env=environment(OXHERD_URL=standalone),
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    # It is kept in whole microseconds.
    assert [float(line) for line in done.stdout.split()] == pytest.approx([within, before], rel=0.05)
