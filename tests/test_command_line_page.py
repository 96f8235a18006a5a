"""The commands of docs/command-line.md print what stands below them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.harness import WorkerProcess, run

PAGE = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text()
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AGE = re.compile(r"\b\d+(?:\.\d)? (?:ms|s|m)\b")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def plain(text: str) -> list[str]:
    """Its lines without what differs from run to run, and the blanks that depend on that."""
    return [" ".join(AGE.sub("AGE", UUID.sub("ID", line)).split()) for line in text.splitlines()]


def test_the_pages_commands_print_what_is_printed(
    tmp_path: Path, standalone: str, prefix: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "app.py").write_text(block("python").replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    (tmp_path / "pyproject.toml").write_text(block("toml"))
    for session in block("console").split("$ ")[1:]:
        command, _, printed = session.partition("\n")
        if command.endswith("&"):
            start_worker(url=standalone).wait("event.end", count=2)
            continue
        words = shlex.split(command)[1:]
        done = run(tmp_path, sys.executable, "-m", "oxherd", *words, OXHERD_URL=standalone)
        lines = plain(done.stdout)
        # The tests' server writes nothing to its disk, which is a finding of its own.
        if words[0] == "doctor":
            lines = [line for line in lines if "append-only" not in line and "appendonly" not in line]
        assert (done.stderr, lines) == ("", plain(printed)), command
