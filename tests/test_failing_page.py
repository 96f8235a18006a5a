"""The program of docs/failing.md prints what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.harness import run

PAGE = (Path(__file__).parents[1] / "docs" / "failing.md").read_text()


def test_the_program_prints_what_the_page_says(tmp_path: Path, standalone: str, prefix: str) -> None:
    program, printed = re.findall(r"^```(?:python)?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[:2]
    (tmp_path / "program.py").write_text(program.replace("Oxherd()", f"Oxherd(prefix={prefix!r})"))
    done = run(tmp_path, sys.executable, "program.py", OXHERD_URL=standalone)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
