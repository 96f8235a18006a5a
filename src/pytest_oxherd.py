"""The pytest plugin: servers of the session's own, and a test with `assert_no_leak` for each event of a herd.

It imports oxherd only when a fixture or `--oxherd-leaks` is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def oxherd_server(_oxherd_session_server: Any) -> Iterator[str]:
    """The URL of an empty server of the session's own, to which every herd of the process is redirected."""
    from oxherd.testing.servers import redirecting

    with redirecting(_oxherd_session_server) as url:
        yield url


@pytest.fixture
def oxherd_cluster(_oxherd_session_cluster: Any) -> Iterator[str]:
    """As `oxherd_server`, with a cluster of three primaries and three replicas."""
    from oxherd.testing.servers import redirecting

    with redirecting(_oxherd_session_cluster) as url:
        yield url


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
