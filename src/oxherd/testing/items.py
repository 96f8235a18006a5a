"""Pytest items for the events of a herd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from oxherd.cli.herd_loader import load_herd
from oxherd.errors import OxherdError
from oxherd.event import Event
from oxherd.payload.failure import FailureType
from oxherd.testing.leak import LeakError
from oxherd.testing.no_leak import assert_no_leak


def collect(session: pytest.Session, targets: Iterable[str], *, handlers: bool) -> Iterator[pytest.Item]:
    """One test for each event of the herds; a herd that cannot be imported is a collection error."""
    for target in dict.fromkeys(targets):
        collector: HerdCollector = _node(HerdCollector, session, name=target, nodeid=target, handlers=handlers)
        collector.ihook.pytest_collectstart(collector=collector)
        report = collector.ihook.pytest_make_collect_report(collector=collector)
        report.__dict__.pop("call", None)  # not serialisable for xdist
        collector.ihook.pytest_collectreport(report=report)
        yield from report.result


class HerdCollector(pytest.Collector):
    """The events of one herd."""

    def __init__(self, *, handlers: bool, **options: Any) -> None:
        super().__init__(**options)
        self._handlers = handlers

    def collect(self) -> Iterator[pytest.Item]:
        """Sorted by name, so that every xdist process collects the same order; not those that take failures."""
        for event in sorted(load_herd(self.name), key=lambda event: event.name):
            if isinstance(event.declaration.payload, FailureType):
                continue
            yield _node(EventItem, self, name=f"leaks[{event.name}]", event=event, handler=self._handlers)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        """The message alone for an error of oxherd."""
        return _short(excinfo) or super().repr_failure(excinfo)


class EventItem(pytest.Item):
    """Runs `assert_no_leak` on one event, with a generated payload."""

    def __init__(self, *, event: Event[Any, Any], handler: bool, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - untyped in pytest
        self._event = event
        self._handler = handler

    def runtest(self) -> None:
        """Run `assert_no_leak`."""
        assert_no_leak(self._event, handler=self._handler)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - as pytest's own items
        """The message alone for a leak."""
        return _short(excinfo) or super().repr_failure(excinfo)

    def add_report_section(self, when: str, key: str, content: str) -> None:
        """Drop captured logs: they come from every scenario, and the message names what leaked."""

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """The item's location, which is not in a file."""
        return self.path, None, self.nodeid


def _node(kind: Any, parent: pytest.Collector, **options: Any) -> Any:
    """Make a node; pytest does not type the options."""
    return kind.from_parent(parent, **options)


def _short(excinfo: pytest.ExceptionInfo[BaseException]) -> str:
    return str(excinfo.value) if isinstance(excinfo.value, LeakError | OxherdError) else ""
