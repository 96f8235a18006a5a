"""The programs of docs/asyncio.md run as they stand there, beside each other, and print what the page says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.harness import environment

PAGE = (Path(__file__).parents[2] / "docs" / "asyncio.md").read_text()
FILES = dict(re.findall(r"`([\w.]+)`[^\n`]*:\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def printed(program: str) -> list[str]:
    """What the page shows of a program; without its Ctrl-C."""
    shown = re.search(rf"^```console\n\$ python {program}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None, program
    return [UUID.sub("~", line) for line in shown[1].replace("^C", "").splitlines()]


@pytest.fixture
def folder(tmp_path: Path, standalone: str, prefix: str) -> Path:
    """The page's programs, with keys of their own."""
    for name, text in FILES.items():
        own = text.replace("Oxherd()", f"Oxherd(prefix={prefix!r})").replace('prefix="', f'prefix="{prefix}')
        (tmp_path / name).write_text(own)
    return tmp_path


def start(folder: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    # Nothing is left open: warnings of resources are errors.
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        cwd=folder,
        env=environment(OXHERD_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, url: str, program: str) -> list[str]:
    with start(folder, url, program) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return [UUID.sub("~", line) for line in out.splitlines()]


@pytest.fixture
def worker(folder: Path, standalone: str, request: pytest.FixtureRequest) -> Iterator[IO[str]]:
    """The output of a worker; SIGTERM ends it with 0."""
    with start(folder, standalone, *request.param) as process:
        assert process.stdout is not None
        yield process.stdout
        process.terminate()
        process.stdout.read()
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(30) == 0, said
        assert "worker.stop" in said


def test_the_page_has_these_programs() -> None:
    assert list(FILES) == ["shop.py", "place.py", "service.py", "sync.py", "two.py"]


@pytest.mark.parametrize("program", ["shop.py", "place.py", "sync.py", "two.py"])
def test_a_program_prints_what_the_page_shows(folder: Path, standalone: str, program: str) -> None:
    assert run(folder, standalone, program) == printed(program)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_service_lets_its_handler_end(folder: Path, standalone: str, number: signal.Signals) -> None:
    with start(folder, standalone, "service.py") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert (first + out).splitlines() == printed("service.py")


OWN_LINES = re.search(r"`herd.run\(\)` does .*?```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "worker", [["-m", "oxherd", "worker", "shop:herd"], ["-c", OWN_LINES and OWN_LINES[1]]], indirect=True
)
def test_a_worker_of_its_own_takes_what_a_script_has_left(folder: Path, standalone: str, worker: IO[str]) -> None:
    run(folder, standalone, "place.py")
    assert sorted(worker.readline() for _ in range(2)) == ["charging 8\n", "charging 9\n"]


def test_leaving_the_block_stops_what_was_started_in_it(folder: Path, standalone: str) -> None:
    (folder / "left.py").write_text(
        "import asyncio\nfrom shop import Order, herd, order_placed\n"
        "async def main():\n"
        "    async with herd:\n        await herd.start()\n"
        "        emitted = await order_placed.emit(Order(number=1))\n"
        "        async for update in emitted.updates():\n            break\n"
        "    print(await emitted.outcome())\n"
        "asyncio.run(main())\n"
    )
    assert run(folder, standalone, "left.py") == ["charging 1", "completed"]
