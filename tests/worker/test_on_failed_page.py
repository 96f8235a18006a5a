"""The program of docs/on-failed.md prints what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.harness import run

PAGE = (Path(__file__).parents[2] / "docs" / "on-failed.md").read_text()


def test_the_program_prints_what_the_page_says(standalone: str, tmp_path: Path, prefix: str) -> None:
    program, printed = re.findall(r"^```(?:python)?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    done = run(tmp_path, sys.executable, "program.py", OXHERD_URL=standalone)
    assert (done.stdout, done.returncode) == (printed, 0), done.stderr
