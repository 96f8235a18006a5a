"""The pages of docs/coming-from: what stands there as the peer's program and as ours prints the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from oxherd.servers.standalone import StandaloneServer
from oxherd.telemetry.logs.reader import read_records
from tests.cli.support import redis
from tests.docs.coming_from import assert_prints_what_it_says, packages_of, section, started
from tests.harness import run, until_sync

pytestmark = pytest.mark.slow

PYTHONS = {"celery": "Celery", "rq": "RQ", "arq": "arq", "dramatiq": "Dramatiq", "taskiq": "taskiq"}


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this test alone: the peers' keys have no prefix."""
    with StandaloneServer() as server:
        yield server.url


@pytest.mark.parametrize("page", [*PYTHONS, "bullmq"])
def test_our_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    assert_prints_what_it_says(section(page, "With oxherd"), tmp_path, server, OXHERD_URL=server)


@pytest.mark.parametrize("page", PYTHONS)
def test_their_program_prints_what_is_printed(page: str, tmp_path: Path, server: str) -> None:
    theirs = section(page, f"With {PYTHONS[page]}")
    assert_prints_what_it_says(theirs, tmp_path, server, PYTHONPATH=packages_of(page))


@pytest.mark.parametrize("system", ["Celery", "oxherd"])
def test_a_chain_a_group_and_a_chord_print_what_is_printed(system: str, tmp_path: Path, server: str) -> None:
    variables = {"PYTHONPATH": packages_of("celery")} if system == "Celery" else {"OXHERD_URL": server}
    assert_prints_what_it_says(section("celery", f"Canvas with {system}"), tmp_path, server, **variables)


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


def test_what_waits_in_arq_is_taken_over_with_its_ids(tmp_path: Path, server: str) -> None:
    theirs, ours = section("arq", "With arq"), section("arq", "With oxherd")
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        section("arq", "Moving over in production", level="##").write(folder, server)
    theirs.write(old, server)
    (new / "shop.py").write_text(ours.files["shop.py"])
    with started(old, ["python place.py"], PYTHONPATH=packages_of("arq")):
        until_sync(lambda: redis(server, "ZCARD", "arq:queue") == 2)
    waiting = redis(server, "ZRANGE", "arq:queue", 0, -1)
    assert isinstance(waiting, list)
    ids = {str(UUID(str(each))) for each in waiting}
    give = (sys.executable, "give.py")
    given = run(old, *give, PYTHONPATH=packages_of("arq"))
    for _ in range(2):
        taken = run(new, sys.executable, "take.py", stdin=given.stdout, OXHERD_URL=server)
        assert taken.stdout.count("is taken") == 2, given.stderr + taken.stderr
    assert run(old, *give, "--remove", PYTHONPATH=packages_of("arq")).stdout == given.stdout
    assert redis(server, "ZCARD", "arq:queue") == 0
    worker = "oxherd worker shop:herd --log-format json"
    with started(new, [worker], OXHERD_URL=server) as logs:

        def completed() -> list[str]:
            return [each["event_id"] for each in read_records(logs[worker]) if each.get("outcome") == "completed"]

        until_sync(lambda: len(completed()) == 2, 60)
        assert set(completed()) == ids
