"""`pytest --oxherd-leaks`, in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PYTEST, run

APP = """
from typing import Annotated
from pydantic import BaseModel
from oxherd import Mask, Oxherd

herd = Oxherd()

class Order(BaseModel):
    order_id: int
    email: Annotated[str, Mask("email")]

@herd.event("order.placed")
async def placed(order: Order) -> None:
    raise ValueError(order)

@herd.event("order.billed")
async def billed(order: Order) -> None:
    print(order.email)
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, *PYTEST, *arguments, PYTHONWARNINGS="ignore")


def test_a_test_that_fails_on_a_server_says_which_events_failed_and_why(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_own.py").write_text(
        "import asyncio\nimport app\nfrom oxherd.testing import run_until_empty\n\n"
        "def test_own(oxherd_server):\n"
        "    app.placed.emit_sync({'order_id': 1, 'email': 'alice@example.com'})\n"
        "    ended = asyncio.run(run_until_empty(app.herd))\n"
        "    assert not ended\n\n"
        "def test_next(oxherd_server):\n"
        "    assert False\n"
    )
    done = pytest_in(tmp_path, "--tb", "short")
    assert done.stdout.count("Captured oxherd call") == 1
    section = done.stdout.split("Captured oxherd call")[1].split("test_next")[0]
    assert "at app.py:" in section
    assert section.count("ValueError") == 3
    assert "alice@" not in section


def test_each_event_of_the_herd_is_a_test_and_fails_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_own.py").write_text("def test_own() -> None: ...\n")
    done = pytest_in(tmp_path, "--oxherd-leaks", "app:herd", "-v")
    assert "app:herd::leaks[order.placed] PASSED" in done.stdout
    assert "app:herd::leaks[order.billed] FAILED" in done.stdout
    assert "test_own.py::test_own PASSED" in done.stdout
    assert "order.billed leaks its payload in 1 place:\n- email is in standard output, after its own" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Captured" not in done.stdout
    assert "1 failed, 2 passed" in done.stdout
    assert done.returncode == 1


@pytest.mark.slow
def test_handlers_can_be_skipped_and_tests_selected_also_with_xdist(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    arguments = ("--oxherd-leaks", "app:herd", "--oxherd-leaks-skip-handlers", "-k", "billed", "-n", "1")
    done = pytest_in(tmp_path, *arguments)
    assert "1 passed" in done.stdout
    assert done.returncode == 0


def test_a_missing_herd_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = pytest_in(tmp_path, "--oxherd-leaks", "app:heard")
    assert "has no herd named 'heard'; did you mean 'herd'?" in done.stdout
    assert "Traceback" not in done.stdout
    assert done.returncode == 2


def test_the_option_is_in_the_help_and_oxherd_is_imported_only_when_it_is_used(tmp_path: Path) -> None:
    assert "--oxherd-leaks=MODULE:HERD" in pytest_in(tmp_path, "--help").stdout
    code = "import sys, pytest_oxherd; sys.exit('oxherd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
