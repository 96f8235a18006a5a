"""Histories at random of all that is in charge of what runs, at once, while workers are killed and servers die.

Each event is a part: what workers declare of it, what may be done with it, and a model that judges in the end. To add
one, put it into `PARTS`, and its steps into `steps` (into `EMITTING` if it has `emit`).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.local_server import LocalServer
from oxherd.servers.process import ServerProcess
from oxherd.servers.standalone import StandaloneServer
from tests.failures.history_part import KINDS, OrdersPart, Part
from tests.failures.mixed_history import MixedHistory
from tests.failures.schedules_part import MINE, SchedulesPart
from tests.failures.unique_part import RULES, UniquePart

pytestmark = pytest.mark.slow

PARTS: list[Callable[[], Part]] = [OrdersPart, SchedulesPart, *[lambda rule=rule: UniquePart(rule) for rule in RULES]]
EMITTING = ["orders", *[f"unique.{rule}" for rule in RULES]]
DURABLE = {"appendonly": "yes", "appendfsync": "always"}

emits = st.tuples(
    st.just("tell"), st.sampled_from(EMITTING), st.just("emit"), st.sampled_from(KINDS), st.sampled_from("ab")
)
pauses = st.tuples(
    st.just("tell"), st.sampled_from([*EMITTING, "beats"]), st.sampled_from(["pause", "pause", "resume"])
)
schedules = st.one_of(
    st.tuples(st.sampled_from(["halt", "go_on"]), st.sampled_from(["often", "mine"])),
    st.tuples(st.just("run_now"), st.sampled_from(["each", "often", "mine"])),
    st.tuples(st.just("schedule"), st.sampled_from(MINE)),
    st.just(("unschedule",)),
).map(lambda call: ("tell", "beats", *call))
waits = st.tuples(st.just("wait"), st.sampled_from([0.02, 0.1, 0.3, 1.0]))
disasters = st.one_of(
    st.tuples(st.sampled_from(["outage", "freeze"]), st.integers(0, 2), st.sampled_from([0.1, 0.5, 1.5])),
    st.tuples(st.just("burst"), st.integers(0, 2), st.just("orders"), st.sampled_from(KINDS)),
)
kills = st.sampled_from([("kill",), ("worker",)])
weighted: list[st.SearchStrategy[Any]] = [
    *[emits] * 8,
    *[pauses] * 2,
    *[schedules] * 3,
    *[waits] * 4,
    *[kills] * 2,
    *[disasters] * 2,
]
steps = st.sampled_from(weighted).flatmap(lambda strategy: strategy)


def go_through(history: list[Any], server: LocalServer, processes: Sequence[ServerProcess]) -> None:
    """Take a history to its end, with a worker from the first step on."""
    with tempfile.TemporaryDirectory() as folder:
        run = MixedHistory(Path(folder), server, [part() for part in PARTS], processes)
        try:
            asyncio.run(run.run([("worker",), ("worker_is_there",), *history]))
        finally:
            run.close()


def at_random(examples: int) -> Callable[[Any], Any]:
    """So many histories, the same ones each time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def server() -> Iterator[StandaloneServer]:
    with StandaloneServer(settings=DURABLE) as server:
        yield server


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[LocalCluster]:
    """Three primaries of the test's own: each serves its slots also while another does not."""
    with LocalCluster(replicas=0, settings={**DURABLE, "cluster-require-full-coverage": "no"}) as cluster:
        yield cluster


@at_random(20)
@given(history=st.lists(steps, min_size=30, max_size=80))
def test_every_mixed_history_is_as_the_models_say(history: list[Any], server: StandaloneServer) -> None:
    go_through(history, server, [server])


@at_random(3)
@given(history=st.lists(steps, min_size=30, max_size=60))
def test_every_mixed_history_on_a_cluster_is_as_the_models_say(history: list[Any], own_cluster: LocalCluster) -> None:
    go_through(history, own_cluster, own_cluster.nodes)
