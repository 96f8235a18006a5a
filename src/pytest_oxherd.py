"""The pytest plugin: `--oxherd-leaks MODULE:HERD` adds a test with `assert_no_leak` for each event of a herd.

It imports oxherd only when the option is used.
"""

from __future__ import annotations

import pytest


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
