"""The images, each made once in a run of the tests."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.image import ROOT, Image
from tests.containers.page import FILES
from tests.harness import run


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the repository's Dockerfile makes: the sample's."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    return _made_once(tmp_path_factory, "sample", dockerfile, lambda made: made.build(dockerfile, ROOT))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What docs/docker.md makes, with oxherd from this repository in place of the package index."""

    def build(made: Image) -> None:
        context, wheels = made.folder / "context", made.folder / "wheels"
        context.mkdir()
        for name, text in FILES.items():
            (context / name).write_text(text)
        wheel = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT))
        done = run(context, sys.executable, "-m", "pip", *wheel, timeout=120)
        assert done.returncode == 0, done.stderr
        made.build(FILES["Dockerfile"], context, PIP_FIND_LINKS=str(wheels))

    return _made_once(tmp_path_factory, "shop", FILES["Dockerfile"], build)


def _made_once(factory: pytest.TempPathFactory, name: str, dockerfile: str, build: Callable[[Image], None]) -> Image:
    # The processes of a run share it.
    base = factory.getbasetemp()
    folder: Path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"image-{name}"
    folder.mkdir(exist_ok=True)
    made = Image(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build(made)
            (folder / "done").touch()
    made.read(dockerfile)
    return made
