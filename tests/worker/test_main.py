"""What a worker process sets up for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import environment

APP = """
import gc, os, signal, sys
from oxherd import Oxherd

turn, youngest = map(float, sys.argv[1:])
if turn:
    sys.setswitchinterval(turn)
if youngest:
    gc.set_threshold(int(youngest))
herd = Oxherd()

def show():
    print(sys.getswitchinterval(), *gc.get_threshold())

@herd.event("turns.asked")
async def turns_asked(_: int) -> None:
    show()
    os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    show()
    turns_asked.emit_sync(1)
    status = herd.run()
    show()
    sys.exit(status)
"""


@pytest.mark.parametrize(
    ("turn", "within"), [(0.0, 0.0005), (0.02, 0.02), (0.0001, 0.0001)], ids=["as Python is", "longer", "shorter"]
)
@pytest.mark.parametrize(("youngest", "rare"), [(0, 5000), (1234, 1234)], ids=["as Python is", "chosen"])
def test_a_worker_process_sets_turns_of_threads_and_rounds_of_the_collector_unless_somebody_has_chosen(
    turn: float, within: float, youngest: int, rare: int, tmp_path: Path, standalone: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "app.py", str(turn), str(youngest)],
        cwd=tmp_path,
        env=environment(OXHERD_URL=standalone),
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    before, inside, after = ([float(word) for word in line.split()] for line in done.stdout.splitlines())
    # A turn is kept in whole microseconds.
    assert inside == pytest.approx([within, rare, *before[2:]], rel=0.05)
    assert after == before
