"""Every program of docs/testing.md runs as it stands there, against one small application."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.harness import PYTEST, run

DOCS = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()

APP = """
from typing import Annotated

from pydantic import BaseModel

from oxherd import Depends, Mask, Oxherd

herd = Oxherd()


class Database:
    def __init__(self) -> None:
        self.mailed: list[int] = []


class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")] = "a@example.com"


database = Database()


def place_order(order_id: int) -> None:
    order_placed.emit_sync(Order(order_id=order_id))


@herd.event("order.placed")
async def order_placed(order: Order) -> str:
    database.mailed.append(order.order_id)
    return "receipt"


@herd.event("mail.wanted")
def send_mail(order: Order) -> None: ...


class Mailer:
    def send(self) -> str:
        return "sent"


def get_mailer() -> Mailer:
    raise OSError("there is no mail server in tests")


@herd.event("receipt.wanted")
async def send_receipt(number: int, mailer: Annotated[Mailer, Depends(get_mailer)]) -> str:
    return mailer.send()
"""

CONFIGURATION = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"


def test_every_program_of_the_page_passes(tmp_path: Path) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    for number, program in enumerate(programs):
        (tmp_path / f"test_{number}.py").write_text(program)
    done = run(tmp_path, *PYTEST, "-W", "error", "-v", timeout=120)
    assert done.returncode == 0, done.stdout
    assert {int(number) for number in re.findall(r"^test_(\d+)\.py\S* PASSED", done.stdout, re.MULTILINE)} == set(
        range(len(programs))
    )
    assert not (tmp_path / ".oxherd").exists()


def test_a_failed_assertion_reads_as_the_page_prints_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    code = (
        "from app import *\nfrom oxherd.testing import captured\n"
        "with captured(herd) as emits:\n    place_order(8)\n    place_order(9)\n"
        "try:\n    emits.assert_emitted(order_placed, order_id=7)\nexcept AssertionError as error:\n    print(error)\n"
    )
    done = run(tmp_path, sys.executable, "-c", code)
    assert f"```\n{done.stdout}```" in DOCS
