"""The program of docs/workers.md runs, and says what the page leads one to expect."""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import fields
from pathlib import Path

from oxherd import WorkerInfo
from oxherd.servers.standalone import StandaloneServer
from tests.harness import run

PAGE = (Path(__file__).parents[1] / "docs" / "workers.md").read_text()


def test_the_program_of_the_page_lists_itself(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program)
    with StandaloneServer() as server:
        done = run(tmp_path, sys.executable, "program.py", OXHERD_URL=server.url)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert re.fullmatch(
        rf"worker {re.escape(socket.gethostname())}:\d+, version 1\.4\.2, processes order\.placed", first
    )
    assert last == "0 workers after the stop"


def test_every_field_is_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    described = [name for row in rows[1:] for name in re.findall(r"`(\w+)`", row)]
    assert described == [field.name for field in fields(WorkerInfo)]
