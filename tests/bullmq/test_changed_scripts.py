"""Scripts of BullMQ that oxherd is not tested with: named and refused, unless the user says otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from oxherd.bullmq import scripts
from tests.harness import cli

APP = """
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)

@herd.event("order.placed")
async def placed(order: dict[str, int]) -> None: ...
"""


def one_byte(folder: Path) -> None:
    script = folder / "moveToActive-11.lua"
    script.write_bytes(script.read_bytes() + b"\n")


def emptied(folder: Path) -> None:
    (folder / "moveToActive-11.lua").write_bytes(b"")


def removed(folder: Path) -> None:
    (folder / "moveToActive-11.lua").unlink()


def other_line_ends(folder: Path) -> None:
    script = folder / "moveToActive-11.lua"
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))


@pytest.fixture
def installed(tmp_path: Path, prefix: str) -> Path:
    """A folder in which another copy of BullMQ's scripts is found first."""
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(prefix)))
    shutil.copytree(scripts.folder(), tmp_path / "bullmq" / "commands")
    (tmp_path / "bullmq" / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("change", [one_byte, emptied, removed, other_line_ends])
@pytest.mark.parametrize("command", ["check app:herd", "worker app:herd", "emit app:herd order.placed {}"])
def test_a_changed_script_is_refused_by_its_name(
    command: str, change: Callable[[Path], None], installed: Path, standalone: str
) -> None:
    change(installed / "bullmq" / "commands")
    done = cli(installed, *command.split(), url=standalone)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "moveToActive-11.lua" in said
    assert "install bullmq 3.4.4" in said
    assert "Traceback" not in said


def test_the_user_may_run_other_scripts_all_the_same(
    installed: Path, standalone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_byte(installed / "bullmq" / "commands")
    monkeypatch.setenv("OXHERD_BULLMQ_SCRIPTS", "unchecked")
    done = cli(installed, "check", "app:herd", url=standalone)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_the_project_that_hides_the_package_is_named(tmp_path: Path, prefix: str, standalone: str) -> None:
    (tmp_path / "app.py").write_text(APP.replace("PREFIX", repr(prefix)))
    (tmp_path / "bullmq.py").touch()
    done = cli(tmp_path, "emit", "app:herd", "order.placed", "{}", url=standalone)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"oxherd: The package bullmq is hidden by {tmp_path / 'bullmq.py'}; rename that file.\n"
