"""The pytest plugin: servers of the session's own, and a test with `assert_no_leak` for each event of a herd.

It imports oxherd only when a fixture or `--oxherd-leaks` is used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_WARNINGS = pytest.StashKey[deque[str]]()


@pytest.fixture
def oxherd_server(request: pytest.FixtureRequest, _oxherd_session_server: Any) -> Iterator[str]:
    """The URL of an empty server of the session's own, to which every herd of the process is redirected."""
    with _redirecting(request, _oxherd_session_server) as url:
        yield url


@pytest.fixture
def oxherd_cluster(request: pytest.FixtureRequest, _oxherd_session_cluster: Any) -> Iterator[str]:
    """As `oxherd_server`, with a cluster of three primaries and three replicas."""
    with _redirecting(request, _oxherd_session_cluster) as url:
        yield url


@contextmanager
def _redirecting(request: pytest.FixtureRequest, server: Any) -> Generator[str]:
    from oxherd.testing.servers import redirecting
    from oxherd.testing.warnings_kept import warnings_kept

    with redirecting(server) as url, warnings_kept() as entries:
        request.node.stash[_WARNINGS] = entries
        yield url


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Say in the report of a test that fails which events failed, and why."""
    entries = item.stash.get(_WARNINGS, None)
    if entries and call.when == "call" and call.excinfo is not None:
        item.add_report_section("call", "oxherd", "\n".join(entries))


@pytest.fixture(scope="session")
def _oxherd_session_server() -> Iterator[Any]:
    from oxherd.testing.servers import new_server

    with new_server() as server:
        yield server


@pytest.fixture(scope="session")
def _oxherd_session_cluster() -> Iterator[Any]:
    from oxherd.testing.servers import new_cluster

    with new_cluster() as cluster:
        yield cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("oxherd")
    group.addoption(
        "--oxherd-leaks",
        action="append",
        default=[],
        metavar="MODULE:HERD",
        help="run each event of this herd through every failure and search logs, errors and Redis for its payload "
        "(may be repeated)",
    )
    group.addoption(
        "--oxherd-leaks-skip-handlers",
        action="store_true",
        help="with --oxherd-leaks: do not run the events' own handlers",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the tests before other plugins deselect and reorder."""
    targets: list[str] = session.config.getoption("--oxherd-leaks") or []
    if targets:
        from oxherd.testing.items import collect

        skip = bool(session.config.getoption("--oxherd-leaks-skip-handlers"))
        items += collect(session, targets, handlers=not skip)
