"""The program of docs/time.md runs, and prints and logs what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.harness import run

PAGE = (Path(__file__).parents[1] / "docs" / "time.md").read_text()


def test_the_program_prints_what_the_page_says(standalone: str, tmp_path: Path) -> None:
    program, printed = re.findall(r"^```(?:python|console)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text(program)
    done = run(tmp_path, sys.executable, "program.py", OXHERD_URL=standalone)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr
    # By logging's handler of last resort: warnings only.
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"  code\.wanted +\w{12}  event\.expired  late by \d+\.\d m?s$", done.stderr.strip()), done.stderr
