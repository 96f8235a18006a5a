"""The image holds what the sample needs and no more, and runs it as a user without rights."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.containers.image import ROOT, Image, can_confine, instructions
from tests.security.test_locks import locked

DOCKERFILE = (ROOT / "Dockerfile").read_text()
BACKEND = {"hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}
MARKED = {"async-timeout", "colorama"}  # for other Pythons and systems


def test_its_last_stage_installs_nothing_and_has_a_user_without_rights() -> None:
    _, final = instructions(DOCKERFILE)
    assert "RUN" not in [keyword for keyword, _ in final]
    users = [rest for keyword, rest in final if keyword == "USER"]
    assert users == ["10001:10001"]
    assert "ARG PYTHON_IMAGE=python:3.13-slim" in DOCKERFILE.splitlines()


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.partition("/")[0]
        for stage in instructions(DOCKERFILE)
        for keyword, rest in stage
        if keyword == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert not any(fnmatch(name, ".*") for name in allowed)


@pytest.mark.slow
def test_it_holds_the_locked_packages_without_pip_and_what_only_a_build_needs(image: Image) -> None:
    listing = (
        "from importlib.metadata import distributions\nfor each in distributions(): print(each.name, each.version)"
    )
    listed = image.run("python", "-c", listing).stdout.lower().replace("_", "-").splitlines()
    held = dict(line.split() for line in listed)
    wanted = {
        name: rest.split()[0]
        for lock in ("examples/requirements.lock", "examples/dashboard.lock")
        for name, rest in locked(lock).items()
        if name not in BACKEND | MARKED
    }
    assert {name: version for name, version in held.items() if name not in MARKED} == {"oxherd": "0.1.0", **wanted}
    for tool in ("pip", "hatchling"):
        assert "No module named" in image.run("python", "-m", tool, "--version").stderr
    assert image.run("oxherd", "--version").stdout == "oxherd 0.1.0\n"


@pytest.mark.slow
def test_the_embedded_server_is_refused_in_it(image: Image) -> None:
    refused = image.run("oxherd", "check", "examples.github_webhooks:herd")
    assert refused.returncode == 2, refused.stdout
    assert "OXHERD_URL" in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(not can_confine(), reason="this system lets its users make no namespaces")
def test_its_commands_are_tested_without_rights_to_write_but_in_tmp(image: Image, tmp_path: Path) -> None:
    program = """
import json, os, tempfile
refused = []
for folder in ("/", os.getcwd(), "/venv", os.path.dirname(json.__file__), os.path.expanduser("~")):
    try:
        open(os.path.join(folder, "written"), "w")
    except OSError:
        refused.append(folder)
print(json.dumps([os.getpid(), os.getuid(), len(refused), tempfile.gettempdir()]))
"""
    container = image.start("python", "-c", program, log=tmp_path / "log")
    assert container.process.wait(60) == 0, container.said
    assert json.loads(container.said) == [1, 10001, 5, "/tmp"]
