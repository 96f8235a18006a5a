"""The plugin's servers, in another process: tests of a project whose development worker runs beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oxherd import Oxherd
from oxherd.testing import own_server, run_until_empty
from tests.harness import PYTEST, run

PROJECT = """
[project]
name = "shop"

[tool.pytest.ini_options]
asyncio_default_fixture_loop_scope = "function"
"""

APP = """
from oxherd import Oxherd

herd = Oxherd()
elsewhere = Oxherd("redis://127.0.0.1:1", emit_timeout=5)
ran = []

@herd.event("work")
async def work(number: int) -> None:
    ran.append(number)

@herd.event("outer", run_in="process")
def outer(number: int) -> None:
    work.emit_sync(number)

@elsewhere.event("work")
def work_elsewhere(number: int) -> None:
    ran.append(number)
"""

TESTS = """
import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

import app
from oxherd.testing import run_until_empty


@pytest.fixture(autouse=True)
def forget():
    app.ran.clear()


async def numbers(herd):
    async with herd:
        await run_until_empty(herd)
    return sorted(app.ran)


@pytest.mark.parametrize("again", range(3))
def test_plain(oxherd_server, again):
    app.work.emit_sync(1)
    app.work.emit_many_sync([2, 3])
    assert asyncio.run(numbers(app.herd)) == [1, 2, 3]


def test_what_a_test_leaves_is_gone_in_the_next(oxherd_server):
    app.work.emit_sync(99)


def test_nothing_is_there_at_first(oxherd_server):
    assert asyncio.run(numbers(app.herd)) == []


def test_a_herd_with_a_url(oxherd_server):
    app.work_elsewhere.emit_sync(1)
    with ThreadPoolExecutor() as threads:
        list(threads.map(app.work_elsewhere.emit_sync, [2, 3]))
    assert asyncio.run(numbers(app.elsewhere)) == [1, 2, 3]


def test_a_handler_in_a_process_of_its_own(oxherd_server):
    app.outer.emit_sync(1)
    assert asyncio.run(numbers(app.herd)) == [1]


@pytest.mark.asyncio
async def test_with_pytest_asyncio(oxherd_server):
    await app.work.emit(1)
    assert await numbers(app.herd) == [1]


@pytest.mark.anyio
async def test_with_anyio(oxherd_server, anyio_backend):
    await app.work.emit(1)
    assert await numbers(app.herd) == [1]


def test_cluster(oxherd_cluster):
    assert oxherd_cluster.startswith("redis+cluster://")
    app.work.emit_sync(1)
    assert asyncio.run(numbers(app.herd)) == [1]


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An application with a project folder of its own."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_app.py").write_text(TESTS)
    return tmp_path


def test_each_test_gets_an_empty_server_and_the_projects_own_is_not_touched(project: Path) -> None:
    done = run(project, *PYTEST, "-W", "error", timeout=120)
    assert "10 passed" in done.stdout, done.stdout
    assert not (project / ".oxherd").exists()


@pytest.mark.slow
def test_processes_of_xdist_have_a_server_each(project: Path) -> None:
    done = run(project, *PYTEST, "-W", "error", "-n", "3", "-k", "not cluster", timeout=120)
    assert "9 passed" in done.stdout, done.stdout
    assert not (project / ".oxherd").exists()


async def test_a_redirection_begins_and_ends_in_the_midst_of_an_event_loop(standalone: str, local_herd: Oxherd) -> None:
    ran: list[int] = []

    @local_herd.event("work")
    async def work(number: int) -> None:
        ran.append(number)

    await work.emit(1)
    with own_server() as url:
        assert url != standalone
        await work.emit(2)
        await run_until_empty(local_herd)
        assert ran == [2]
        await local_herd.close()
    await run_until_empty(local_herd)
    assert ran == [2, 1]
    await local_herd.close()
