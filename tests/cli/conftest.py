"""An app in the test's own folder."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.support import WriteApp
from tests.servers.conftest import eventually, running_in


@pytest.fixture
def write_app(tmp_path: Path, prefix: str) -> WriteApp:
    """Writes `app.py` with `PREFIX` replaced by the test's key prefix; returns its folder."""

    def write(source: str) -> Path:
        (tmp_path / "app.py").write_text(textwrap.dedent(source).replace("PREFIX", repr(prefix)))
        return tmp_path

    return write


@pytest.fixture
def project(tmp_path: Path) -> Generator[Path]:
    """A project folder; no process may be left running in it after the test."""
    (tmp_path / "pyproject.toml").touch()
    yield tmp_path
    eventually(lambda: not running_in(tmp_path), f"the processes {running_in(tmp_path)} end")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The temporary folder of started processes, which must leave nothing in it; short, for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ox", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    try:
        yield folder
        eventually(lambda: not running_in(folder), f"the processes {running_in(folder)} end")
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)
