"""The sample's image, made once in a run of the tests."""

from __future__ import annotations

import fcntl
import os

import pytest

from tests.containers.image import ROOT, Image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the Dockerfile makes; the processes of a run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "image"
    folder.mkdir(exist_ok=True)
    made = Image(folder)
    dockerfile = (ROOT / "Dockerfile").read_text()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "done").exists():
            made.read(dockerfile)
        else:
            made.build(dockerfile, ROOT)
            (folder / "done").touch()
    return made
