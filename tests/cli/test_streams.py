"""Closed, full and broken standard streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import WriteApp
from tests.harness import run

APP = """
import os, signal, sys
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed")
async def order_placed(number: int) -> None:
    with open("handled", "a") as file:
        print(number, file=file)
    os.kill(os.getpid(), signal.SIGTERM)
"""
EMIT = "emit app:herd order.placed 7"


def shell(folder: Path, line: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run `oxherd` with redirections, by a shell."""
    return run(folder, "bash", "-o", "pipefail", "-c", f"{sys.executable} -m oxherd {line}", OXHERD_URL=url)


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("options", ["", " --processes 1 --reload"])
def test_a_worker_works_without_a_standard_stream(
    options: str, closed: str, write_app: WriteApp, standalone: str
) -> None:
    folder = write_app(APP.replace("os.getpid()", "os.getppid()") if options else APP)
    assert shell(folder, EMIT, standalone).returncode == 0
    done = shell(folder, f"worker app:herd{options} {closed}", standalone)
    assert (done.returncode, done.stdout) == (0, "")
    assert (folder / "handled").read_text() == "7\n"
    assert ("worker.stop" in done.stderr) == ("2>" not in closed)


@pytest.mark.parametrize("command", ["--version", "--help", "check app:herd", EMIT, "drill --list"])
@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
def test_a_command_works_without_a_standard_stream(
    command: str, closed: str, write_app: WriteApp, standalone: str
) -> None:
    done = shell(write_app(APP), f"{command} {closed}", standalone)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("command", ["--version", "--help", "check app:herd", "drill --list"])
def test_output_that_cannot_be_written_is_one_error(command: str, write_app: WriteApp, standalone: str) -> None:
    done = shell(write_app(APP), f"{command} > /dev/full", standalone)
    assert done.returncode == 1
    assert done.stderr == "oxherd: Standard output cannot be written (No space left on device).\n"


def test_an_event_whose_id_cannot_be_printed_is_said_to_be_emitted(write_app: WriteApp, standalone: str) -> None:
    folder = write_app(APP)
    done = shell(folder, f"{EMIT} > /dev/full", standalone)
    assert done.returncode == 1
    assert done.stderr.startswith("oxherd: The event ")
    assert "was emitted, but standard output cannot be written" in done.stderr
    many = shell(folder, "emit app:herd order.placed - > /dev/full < <(seq 1000)", standalone)
    assert many.stderr.startswith("oxherd: All 1000 events were emitted, but")
    assert many.stderr.count("\n") == 1


def test_an_error_that_cannot_be_written_keeps_its_status(write_app: WriteApp, standalone: str) -> None:
    for closed in ("2>&-", "2>/dev/full"):
        assert shell(write_app(APP), f"check app:hred {closed}", standalone).returncode == 2


def test_a_reader_that_ends_early_is_no_error(write_app: WriteApp, standalone: str) -> None:
    done = shell(write_app(APP), "emit app:herd order.placed - < <(seq 20000) | head -1", standalone)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("\n") == 1


def test_lines_from_a_closed_standard_input_are_refused(write_app: WriteApp, standalone: str) -> None:
    done = shell(write_app(APP), "emit app:herd order.placed - <&-", standalone)
    assert (done.returncode, done.stderr) == (2, "oxherd: Standard input is closed; give the JSON lines there.\n")
