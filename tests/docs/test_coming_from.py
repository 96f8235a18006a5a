"""The pages of docs/coming-from: what stands there as the peer's program and as ours prints the same."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.environments import environment_of
from benchmarks.systems import named
from oxherd.servers.standalone import StandaloneServer
from tests.docs.coming_from import assert_prints_what_it_says, section, started
from tests.harness import until_sync

TITLES = {"celery": "Celery"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of these tests alone: the peers' keys have no prefix."""
    with StandaloneServer() as server:
        yield server.url


def packages_of(peer: str) -> str:
    """Where the peer's packages are, at the versions that are measured."""
    [system] = named([peer])
    home = Path(environment_of(system).interpreter).parents[1]
    return sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})


@pytest.mark.parametrize("page", TITLES)
def test_our_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    assert_prints_what_it_says(section(page, "With oxherd"), tmp_path, server, OXHERD_URL=server)


@pytest.mark.slow
@pytest.mark.parametrize("page", TITLES)
def test_their_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    theirs = section(page, f"With {TITLES[page]}")
    assert_prints_what_it_says(theirs, tmp_path, server, PYTHONPATH=packages_of(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", TITLES)
def test_what_waits_in_the_old_queue_becomes_an_event_of_its_id(page: str, tmp_path: Path, server: str) -> None:
    theirs, ours = section(page, f"With {TITLES[page]}"), section(page, "With oxherd")
    moving = section(page, "Moving over in production", level="##")
    variables = {"PYTHONPATH": packages_of(page), "OXHERD_URL": server}
    theirs.write(tmp_path, server)
    (tmp_path / "shop.py").write_text(ours.files["shop.py"])
    worker = "oxherd worker shop:herd"
    with started(tmp_path, ["python place.py"], **variables):
        moving.write(tmp_path, server)
        with started(tmp_path, [*theirs.started, worker], **variables) as logs:

            def completed() -> int:
                return logs[worker].read_text().count("completed")

            until_sync(lambda: completed() == 2, 60)
