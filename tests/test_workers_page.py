"""docs/workers.md describes all that is told of a worker."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from oxherd import WorkerInfo

PAGE = (Path(__file__).parents[1] / "docs" / "workers.md").read_text()


def test_every_field_is_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    described = [name for row in rows[1:] for name in re.findall(r"`(\w+)`", row)]
    assert described == [field.name for field in fields(WorkerInfo)]
