"""The first page: its files and commands work as they stand there, in a new folder, on the embedded server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import environment, until_sync

PAGE = (Path(__file__).parents[2] / "docs" / "index.md").read_text()
# What differs from run to run: times, ids, durations, delays, rates, folders.
VARYING = re.compile(r"\d\d:\d\d:\d\d\.\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{12}\b|[\d.]+ (µs|ms)")

pytestmark = pytest.mark.slow


def file_named(name: str) -> str:
    found = re.search(rf"^`{re.escape(name)}`.*?:\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found[1]


def printed(after: str) -> list[str]:
    """The console block that begins with, or contains, some words; without the command."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    [block] = [each for each in blocks if after in each]
    return [VARYING.sub("~", line) for line in block.splitlines() if not line.startswith("$ ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    for name in ("shop.py", "place.py", "test_shop.py"):
        (tmp_path / name).write_text(file_named(name))
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """What a worker of the page's shop has said so far."""
    log = folder / "worker.log"
    command = [sys.executable, "-m", "oxherd", "worker", "shop:herd"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=file, stderr=file)
    yield lambda: [VARYING.sub("~", line) for line in log.read_text().splitlines()]
    process.terminate()
    assert process.wait(30) == 0


def run(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return [VARYING.sub("~", line) for line in done.stdout.splitlines()]


def test_what_a_newcomer_types_prints_what_the_page_says(folder: Path, worker: Callable[[], list[str]]) -> None:
    until_sync(lambda: len(worker()) >= 2)
    start = [line.replace("/home/you/shop", str(folder)) for line in printed("oxherd worker shop:herd")]
    assert worker()[:2] == start
    assert run(folder, sys.executable, "place.py") == printed("python place.py")
    until_sync(lambda: any("completed" in line for line in worker()))
    assert worker()[2:] == printed("again in 609.0 ms")
    emit = re.search(r"oxherd emit (shop:herd) (order\.placed) '(.*)'", PAGE)
    assert emit is not None
    oxherd = (sys.executable, "-m", "oxherd")
    assert run(folder, *oxherd, "emit", *emit.groups()) == printed("oxherd emit shop:herd")
    head, row = run(folder, *oxherd, "ls", "shop:herd")
    expected_head, expected_row = printed("oxherd ls shop:herd")
    assert head.split() == expected_head.split()
    assert row.split()[0] == expected_row.split()[0]


def test_the_pages_tests_pass(folder: Path) -> None:
    assert "2 passed" in run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py")[-1]
