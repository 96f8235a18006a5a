"""Tests of pytest's for the events of a herd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from oxherd.cli.herd_loader import load_herd
from oxherd.errors import OxherdError
from oxherd.event import Event
from oxherd.testing.leak import LeakError
from oxherd.testing.no_leak import assert_no_leak


def collect(session: pytest.Session, targets: Iterable[str], *, handlers: bool) -> Iterator[pytest.Item]:
    """A test for each event of these herds; a herd that cannot be imported is reported as an error of collection."""
    for target in dict.fromkeys(targets):
        collector: HerdOfEvents = _made(HerdOfEvents, session, name=target, nodeid=target, handlers=handlers)
        collector.ihook.pytest_collectstart(collector=collector)
        report = collector.ihook.pytest_make_collect_report(collector=collector)
        report.__dict__.pop("call", None)  # it cannot be sent to another process
        collector.ihook.pytest_collectreport(report=report)
        yield from report.result


class HerdOfEvents(pytest.Collector):
    """The events of one herd."""

    def __init__(self, *, handlers: bool, **options: Any) -> None:
        super().__init__(**options)
        self._handlers = handlers

    def collect(self) -> Iterator[pytest.Item]:
        """In the order of their names, the same in each process."""
        for event in sorted(load_herd(self.name), key=lambda event: event.name):
            yield _made(EventItem, self, name=f"leaks[{event.name}]", event=event, handler=self._handlers)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        """One sentence where it is one of ours."""
        return _short(excinfo) or super().repr_failure(excinfo)


class EventItem(pytest.Item):
    """Runs `assert_no_leak` on one event, with a payload made of its type."""

    def __init__(self, *, event: Event[Any, Any], handler: bool, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - pytest leaves its options open
        self._event = event
        self._handler = handler

    def runtest(self) -> None:
        """Run it."""
        assert_no_leak(self._event, handler=self._handler)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - as pytest's own items
        """What was found, without a traceback."""
        return _short(excinfo) or super().repr_failure(excinfo)

    def add_report_section(self, when: str, key: str, content: str) -> None:
        """Leave out what was logged: it is of every failure that was run, and what leaks of it is named."""

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands: in no file."""
        return self.path, None, self.nodeid


def _made(kind: Any, parent: pytest.Collector, **options: Any) -> Any:
    """A node of that kind: pytest leaves the types of a node's options open."""
    return kind.from_parent(parent, **options)


def _short(excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    return str(excinfo.value) if isinstance(excinfo.value, LeakError | OxherdError) else ""
