"""Histories at random of unique events, of each rule, against a model: failures, retries and killed workers too."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oxherd.servers.standalone import StandaloneServer
from tests.failures.history_part import KINDS
from tests.failures.mixed_history import MixedHistory
from tests.failures.unique_part import RULES, UniquePart

pytestmark = pytest.mark.slow

steps: st.SearchStrategy[Any] = st.one_of(
    *[st.tuples(st.just("emit"), st.sampled_from(KINDS), st.sampled_from("ab"))] * 4,
    st.tuples(st.just("wait"), st.sampled_from([0.02, 0.1, 0.3])),
    st.sampled_from([("kill",), ("worker",), ("worker",)]),
)


@pytest.fixture(scope="module")
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer() as server:
        yield server


@pytest.mark.parametrize("rule", RULES)
@settings(
    max_examples=9,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(history=st.lists(steps, min_size=6, max_size=30))
def test_every_history_of_a_rule_is_as_the_model_says(rule: str, history: list[Any], server: StandaloneServer) -> None:
    part = UniquePart(rule)
    told = [("tell", part.name, *step) if step[0] == "emit" else step for step in history]
    with tempfile.TemporaryDirectory() as folder:
        run = MixedHistory(Path(folder), server, [part], [server])
        try:
            asyncio.run(run.run(told))
        finally:
            run.close()
