"""Fixtures of the tests of telemetry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.telemetry.otel import Collected


@pytest.fixture
def spans() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.provider.shutdown()
