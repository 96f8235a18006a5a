"""The pages of docs/coming-from: what stands there as the peer's program and as ours prints the same."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.environments import environment_of
from benchmarks.systems import named
from oxherd.servers.standalone import StandaloneServer
from tests.docs.coming_from import assert_prints_what_it_says, section, started
from tests.harness import until_sync

FURTHER = {"dramatiq": ("apscheduler==3.11.3",)}  # what a page's program needs, and the benchmark's does not
PYTHONS = {"celery": "Celery", "rq": "RQ", "arq": "arq", "dramatiq": "Dramatiq", "taskiq": "taskiq"}


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this test alone: the peers' keys have no prefix."""
    with StandaloneServer() as server:
        yield server.url


def packages_of(peer: str) -> str:
    """Where the peer's packages are, at the versions that are measured."""
    [system] = named([peer])
    if peer in FURTHER:
        system = replace(system, key=f"{peer}-page", packages=(*system.packages, *FURTHER[peer]))
    home = Path(environment_of(system).interpreter).parents[1]
    return sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})


@pytest.mark.parametrize("page", [*PYTHONS, "bullmq"])
def test_our_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    assert_prints_what_it_says(section(page, "With oxherd"), tmp_path, server, OXHERD_URL=server)


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHONS)
def test_their_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    theirs = section(page, f"With {PYTHONS[page]}")
    assert_prints_what_it_says(theirs, tmp_path, server, PYTHONPATH=packages_of(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PYTHONS if page != "arq"])
def test_what_waits_in_the_old_queue_becomes_events(page: str, tmp_path: Path, server: str) -> None:
    theirs, ours = section(page, f"With {PYTHONS[page]}"), section(page, "With oxherd")
    moving = section(page, "Moving over in production", level="##")
    variables = {"PYTHONPATH": packages_of(page), "OXHERD_URL": server}
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        theirs.write(folder, server)
    moving.write(new, server)
    (new / "shop.py").write_text(ours.files["shop.py"])
    worker = "oxherd worker shop:herd"
    with (
        started(old, ["python place.py"], **variables),
        started(new, [*theirs.workers(server), worker], **variables) as logs,
    ):
        until_sync(lambda: logs[worker].read_text().count("completed") == 2, 60)
