"""Runs the example applications as they are: a server, and a worker in another process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from tests.harness import environment, run, until_sync

EXAMPLES = Path(__file__).parents[2] / "examples"
ADA, BOB = ({"Authorization": f"Bearer {token}"} for token in ("adas-token", "bobs-token"))
UVICORN = ("uvicorn", "app:app", "--port", "0", "--timeout-graceful-shutdown", "1")
GUNICORN = ("gunicorn", "app:app", "--bind", "127.0.0.1:0", "--preload", "--workers", "2")


def copy_example(name: str, folder: Path, prefix: str) -> None:
    """Put an example into a folder as `app.py`, with a key prefix of its own, and create its tables."""
    write_program((EXAMPLES / f"{name}.py").read_text(), folder, prefix)
    command = ["-m", "flask", "--app", "app", "create-tables"] if name == "flask_app" else ["app.py"]
    ran = run(folder, sys.executable, *command)
    assert ran.returncode == 0, ran.stderr


def write_program(program: str, folder: Path, prefix: str) -> None:
    """Put a program into a folder as `app.py`, with a key prefix of its own."""
    assert "Oxherd()" in program
    (folder / "app.py").write_text(program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))


@contextmanager
def serving(
    folder: Path, command: Sequence[str], url: str, **variables: str
) -> Generator[tuple[httpx.Client, subprocess.Popen[bytes], Path]]:
    """A client of the folder's application, its server's process and log; the server ends by itself when told to."""
    log = folder / "server.log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment(**{"OXHERD_URL": url, "PYTHONPATH": str(folder), **variables}),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        found = until_sync(lambda: re.search(r"(?:[Rr]unning on|Listening at:) (http://\S+)", log.read_text()), 60)
        with httpx.Client(base_url=found[1], timeout=60, trust_env=False) as client:
            yield client, server, log
        server.terminate()
        assert server.wait(40) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
