"""The program of docs/cancelling.md prints what stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.harness import run

PAGE = (Path(__file__).parents[1] / "docs" / "cancelling.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_program_prints_what_is_printed(tmp_path: Path, standalone: str) -> None:
    program = block("python").replace("Oxherd()", 'Oxherd(prefix="cancelling")')
    (tmp_path / "program.py").write_text(program)
    done = run(tmp_path, sys.executable, "program.py", OXHERD_URL=standalone)
    assert (done.returncode, done.stdout) == (0, block("text")), done.stderr
