"""MODULE:HERD may be left out where OXHERD_APP or pyproject.toml names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import WriteApp, one_line
from tests.harness import cli, run

APP = """
from oxherd import Oxherd

herd = Oxherd(prefix=PREFIX)
herd.declare("order.placed", int)
"""


def ls(folder: Path, url: str, app: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oxherd", "ls", "--json"]
    if app is None:
        return run(folder, *command, OXHERD_URL=url)
    return run(folder, *command, OXHERD_URL=url, OXHERD_APP=app)


def names(text: str) -> list[str]:
    return [json.loads(line)["name"] for line in text.splitlines()]


def test_the_environment_names_the_herd(write_app: WriteApp, standalone: str) -> None:
    done = ls(write_app(APP), standalone, app="app:herd")
    assert (names(done.stdout), done.stderr) == (["order.placed"], "")


def test_the_nearest_pyproject_names_the_herd_and_its_folder_is_importable(
    write_app: WriteApp, standalone: str
) -> None:
    folder = write_app(APP)
    (folder / "pyproject.toml").write_text('[tool.oxherd]\napp = "app:herd"\n')
    below = folder / "docs" / "pages"
    below.mkdir(parents=True)
    assert names(ls(folder, standalone).stdout) == ["order.placed"]
    assert names(ls(below, standalone).stdout) == ["order.placed"]


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(write_app: WriteApp, standalone: str) -> None:
    folder = write_app(APP)
    (folder / "pyproject.toml").write_text('[tool.oxherd]\napp = "nowhere:herd"\n')
    assert names(ls(folder, standalone, app="app:herd").stdout) == ["order.placed"]
    given = run(folder, sys.executable, "-m", "oxherd", "ls", "app:herd", OXHERD_URL=standalone, app="no:herd")
    assert given.returncode == 0
    assert "'nowhere'" in one_line(ls(folder, standalone), 2)


@pytest.mark.parametrize(
    "words",
    [["worker"], ["check"], ["emit", "order.placed", "1"], ["ls"], ["find"], ["show", "0"], ["doctor"], ["tail"],
     ["retry", "order.placed"], ["pause", "order.placed"], ["move", "{old}", "order.placed"],
     ["limits", "order.placed"]],
)  # fmt: skip
def test_where_nothing_names_it_the_error_says_how(words: list[str], tmp_path: Path, standalone: str) -> None:
    (tmp_path / "pyproject.toml").touch()
    error = one_line(cli(tmp_path, *words, url=standalone), 2)
    assert "MODULE:HERD" in error
    assert "OXHERD_APP" in error


@pytest.mark.parametrize("text", ["[tool.oxherd]\napp = 3\n", '[tool.oxherd]\napp = "app"\n', "[tool", "tool = 1\n"])
def test_a_file_that_names_none_is_refused(text: str, tmp_path: Path, standalone: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert one_line(ls(tmp_path, standalone), 2)


def test_an_empty_variable_is_refused(tmp_path: Path, standalone: str) -> None:
    assert "OXHERD_APP does not name a herd" in one_line(ls(tmp_path, standalone, app=""), 2)


def test_an_emit_without_the_herd_prints_its_uuid(write_app: WriteApp, standalone: str) -> None:
    folder = write_app(APP)
    (folder / "pyproject.toml").write_text('[tool.oxherd]\napp = "app:herd"\n')
    done = cli(folder, "emit", "order.placed", "1", url=standalone)
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, "", 37)
