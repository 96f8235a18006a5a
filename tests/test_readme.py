"""What the README prints is what there is."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.logs.reader import read_records
from tests.harness import environment, until_sync

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_first_two_shell_lines_run_the_demo_and_the_tests() -> None:
    demo, tests = block("sh").splitlines()
    assert demo.endswith("oxherd demo")
    assert tests.endswith("pytest")
    for line in (demo, tests):
        for lock in re.findall(r"-r (\S+)", line):
            assert (ROOT / lock).is_file()


def test_the_program_is_the_example_and_at_most_thirty_lines() -> None:
    program = block("python")
    assert program == (ROOT / "examples" / "quickstart.py").read_text()
    assert len(program.splitlines()) <= 30


def test_the_program_prints_and_logs_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "quickstart.py").write_text(block("python"))
    with StandaloneServer() as server:
        url = {"OXHERD_URL": server.url}
        emitted = subprocess.run(
            [sys.executable, "quickstart.py"], cwd=tmp_path, env=environment(**url), capture_output=True, check=True
        ).stdout.decode()
        log = tmp_path / "log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "oxherd", "worker", "quickstart:herd", "--log-format", "json"]
            worker = subprocess.Popen(command, cwd=tmp_path, env=environment(**url), stderr=file)
        until_sync(lambda: any(record.get("outcome") == "completed" for record in read_records(log)))
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 0
    printed = [line for line in block("console").splitlines() if line.startswith("{")]
    (tmp_path / "printed").write_text("\n".join(printed) + "\n")
    expected, found = list(read_records(tmp_path / "printed")), list(read_records(log))[: len(printed)]
    for wanted, record in zip(expected, found, strict=True):
        for moving in ("ts", "duration_ms", "retry_in_ms", "server"):
            assert (moving in wanted) == (moving in record)
            wanted.pop(moving, None)
            record.pop(moving, None)
        if "event_id" in wanted:
            wanted["event_id"] = emitted.strip()
        assert record == wanted


def test_it_is_read_in_five_minutes() -> None:
    assert len(README.splitlines()) < 120
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    assert [line for line in prose.splitlines() if len(line) > 160 and not line.startswith("|")] == []


def test_every_document_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_figures_beside_others_are_those_of_the_benchmarks() -> None:
    page = (ROOT / "docs" / "benchmarks" / "README.md").read_text()
    compared = README.partition("## How it compares")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:no-op events|emitted|emit to begin)[^|]*\|(.*)\|$", compared, re.MULTILINE)
    assert len(rows) >= 3
    for figure in re.findall(r"\d[\d,.]*", " ".join(rows)):
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,])", page), figure
