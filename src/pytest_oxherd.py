"""The pytest plugin: `--oxherd-leaks MODULE:HERD` adds a test for each event of a herd, which runs `assert_no_leak`.

oxherd itself is imported once the option is used.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("oxherd")
    group.addoption(
        "--oxherd-leaks",
        action="append",
        default=[],
        metavar="MODULE:HERD",
        help="run each event of this herd with every failure and look for its payload in logs, errors and Redis "
        "(may be given several times)",
    )
    group.addoption(
        "--oxherd-leaks-skip-handlers",
        action="store_true",
        help="with --oxherd-leaks: leave out the events' own handlers",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the tests, before others deselect and reorder."""
    targets: list[str] = session.config.getoption("--oxherd-leaks") or []
    if targets:
        from oxherd.testing.items import collect

        skip = bool(session.config.getoption("--oxherd-leaks-skip-handlers"))
        items += collect(session, targets, handlers=not skip)
