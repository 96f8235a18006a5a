"""Which folder an embedded server belongs to, and where its socket is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxherd.errors import ServerError
from oxherd.servers.project import project_dir, socket_path


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder without a project above it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


@pytest.mark.parametrize("marker", [".oxherd/", "pyproject.toml", ".git/", ".git"])
def test_a_project_is_the_nearest_folder_upwards_with_a_marker(marker: str, root: Path) -> None:
    inner = root / "project" / "src" / "package"
    inner.mkdir(parents=True)
    for folder in (root, root / "project"):
        if marker.endswith("/"):
            (folder / marker).mkdir()
        else:
            (folder / marker).touch()
    assert project_dir(inner) == root / "project"


def test_a_folder_without_a_marker_above_it_is_a_project_itself(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    assert project_dir(inner) == inner


def test_a_project_is_found_through_a_link(root: Path) -> None:
    (root / "project" / "src").mkdir(parents=True)
    (root / "project" / ".git").touch()
    (root / "link").symlink_to(root / "project" / "src")
    assert project_dir(root / "link") == root / "project"


def test_a_data_folder_that_is_a_broken_link_is_not_passed_over(root: Path) -> None:
    (root / ".oxherd").symlink_to(root / "gone")
    (root / "inner").mkdir()
    assert project_dir(root / "inner") == root


@pytest.fixture
def deep(root: Path) -> Path:
    """A project whose path is too long for a socket."""
    folder = root / ("deep" * 20) / ("er" * 40)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def bases(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where a short path is tried, in this order."""
    found = [root / name for name in ("run", "tmp")]
    for folder, variable in zip(found, ("XDG_RUNTIME_DIR", "TMPDIR"), strict=True):
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return found


def _open_to_others(ours: Path) -> None:
    ours.mkdir()
    ours.chmod(0o755)


def _link(ours: Path) -> None:
    (ours.parent / "other").mkdir()
    ours.symlink_to(ours.parent / "other")


def _file(ours: Path) -> None:
    ours.touch()


def _in_a_shared_folder(ours: Path) -> None:
    ours.mkdir(mode=0o700)
    ours.parent.chmod(0o777)


def _of_another_user(ours: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    ours.mkdir(mode=0o700)
    shutil.chown(ours, 65534)


@pytest.mark.parametrize("spoil", [_open_to_others, _link, _file, _in_a_shared_folder, _of_another_user])
def test_a_folder_for_short_paths_that_is_not_safe_is_passed_over(spoil: object, deep: Path, bases: list[Path]) -> None:
    first, second = bases
    assert callable(spoil)
    spoil(first / f"oxherd-{os.getuid()}")
    assert socket_path(deep).is_relative_to(second)


def test_the_home_is_tried_when_others_were_first_everywhere_else(
    deep: Path, bases: list[Path], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    home = root / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("oxherd.servers.project.SHARED_BASE", str(bases[1]))
    for base in bases:
        _file(base / f"oxherd-{os.getuid()}")
    assert socket_path(deep).is_relative_to(home / ".cache")
    shutil.rmtree(home)
    with pytest.raises(ServerError, match=r"not a folder of this user.*set TMPDIR to a short path"):
        socket_path(deep)


def test_a_socket_has_a_short_path_as_it_is(root: Path) -> None:
    assert socket_path(root) == root / ".oxherd" / "valkey.sock"


def test_the_folders_of_different_projects_do_not_meet(deep: Path, bases: list[Path]) -> None:
    other = deep / "other"
    other.mkdir()
    assert socket_path(deep).parent.parent == socket_path(other).parent.parent
    assert socket_path(deep) != socket_path(other)
    assert bases[0] in socket_path(deep).parents
    assert socket_path(deep).parent.is_symlink()
