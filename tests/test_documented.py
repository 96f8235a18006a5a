"""The programs of the guides run as they stand, and print what stands below them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from oxherd.servers.standalone import StandaloneServer
from tests.harness import run

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    "admin", "failing", "history", "limits", "limits-per-key", "long-lived-workers", "on-failed", "outbox", "pausing",
    "payloads", "resources", "results", "schedules", "sealing", "time", "uniqueness", "workers",
]  # fmt: skip


def first_block(page: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", (DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("page", PAGES)
def test_a_guides_program_prints_what_is_printed(page: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(first_block(page, "python"))
    with StandaloneServer() as server:  # what another page's program has left would be counted
        ran = run(tmp_path, sys.executable, "program.py", OXHERD_URL=server.url)
    assert ran.stdout.splitlines() == first_block(page, "console").splitlines(), ran.stderr


def test_a_logging_handler_is_told_of_each_event_that_has_failed(tmp_path: Path) -> None:
    section = (DOCS / "on-failed.md").read_text().split("## For all events at once\n")[1]
    program, printed = re.findall(r"^```(?:python|console)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program)
    with StandaloneServer() as server:
        ran = run(tmp_path, sys.executable, "program.py", OXHERD_URL=server.url)
    assert ran.stdout == printed, ran.stderr
