"""Histories at random of all that is in charge of what runs, at once, while workers are killed and servers die.

Each event is a part: what workers declare of it, what may be done with it, and a model that judges in the end. To add
one, put it into `PARTS`, and its steps into `calls` or `phrases` (into `EMITTING` if it has `emit`).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oxherd import Limits, PerKey, Rate
from oxherd.servers.local_cluster import LocalCluster
from oxherd.servers.local_server import LocalServer
from oxherd.servers.process import ServerProcess
from oxherd.servers.standalone import StandaloneServer
from tests.failures.history_part import KINDS, RESTS, Part
from tests.failures.limits_part import LimitedOrders, LimitedUnique
from tests.failures.mixed_history import MixedHistory
from tests.failures.schedules_part import MINE, SchedulesPart
from tests.failures.unique_part import RULES, UniquePart

pytestmark = pytest.mark.slow

PARTS: list[Callable[[], Part]] = [
    lambda: LimitedOrders("orders", Limits()),
    SchedulesPart,
    *[lambda rule=rule: UniquePart(rule) for rule in RULES],
    lambda: LimitedOrders("limited", Limits(Rate(4, per=0.4), max_running=2)),
    lambda: LimitedOrders("keyed", Limits(per_key=PerKey(2, Rate(4, per=0.4)))),
    lambda: LimitedUnique("last", PerKey(1, Rate(3, per=0.4))),
]
BY_KEY = ["keyed", "keyed.last"]
LIMITED = ["orders", "limited", *BY_KEY]
EMITTING = [*[f"unique.{rule}" for rule in RULES], *LIMITED]
DURABLE = {"appendonly": "yes", "appendfsync": "always"}

Step = tuple[Any, ...]


def one_after_the_other(part: str, key: str, kinds: list[str], apart: float) -> list[Step]:
    """Several emits of a key, of which one may find another waiting, running or ended."""
    return [step for kind in kinds for step in (("tell", part, "emit", kind, key), ("wait", apart))]


emits = st.builds(
    one_after_the_other,
    st.sampled_from(EMITTING),
    st.sampled_from("ab"),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.05, 0.15, 0.45]),
)
rates = st.sampled_from([Rate(2, per=0.3), Rate(3, per=0.2), Rate(5, per=0.5), None])
mosts = st.sampled_from([1, 2, 3, None])
limits_of_all = st.one_of(st.tuples(st.just("rate"), rates), st.tuples(st.just("max_running"), mosts))
limits_of_keys = st.tuples(st.just("per_key"), st.builds(PerKey, mosts, rates))


def limited(part: str, key: str, kinds: list[str], then: tuple[str, Any] | None) -> list[Step]:
    """More is emitted of a key than may begin, and then perhaps another limit is set."""
    calls = [("limit", *then)] if then else []
    return [("tell", part, *call) for call in (*[("emit", kind, key) for kind in kinds], *calls)]


crowds = st.sampled_from([*LIMITED, "limited"]).flatmap(
    lambda part: st.builds(
        limited,
        st.just(part),
        st.sampled_from("ab"),
        st.one_of(
            st.lists(st.sampled_from([*KINDS, *["plain"] * 3]), min_size=5, max_size=9),
            st.lists(st.sampled_from(["plain", *RESTS, *RESTS]), min_size=2, max_size=4),
        ),
        st.one_of(st.none(), *[limits_of_keys if part in BY_KEY else limits_of_all] * 2),
    )
)


def let_go(part: str, key: str, later: int) -> list[Step]:
    """A key lets go what it held back while nobody has looked at what came later."""
    emit = ("tell", part, "emit", "plain", key)
    held = [("tell", part, "pause_key", key), emit, ("wait", 0.3), ("kill",), ("kill",)]
    return [*held, *[emit] * later, ("tell", part, "resume_key", key), ("worker",)]


key_pauses = st.tuples(
    st.just("tell"),
    st.sampled_from(BY_KEY),
    st.sampled_from(["pause_key", "pause_key", "resume_key"]),
    st.sampled_from("ab"),
)
repeats = st.tuples(st.just("tell"), st.sampled_from(["orders", "limited", "keyed", "keyed"]), st.just("again"))
pauses = st.tuples(
    st.just("tell"), st.sampled_from([*EMITTING, *["beats"] * 4]), st.sampled_from(["pause", "pause", "resume"])
)
schedules = st.one_of(
    st.tuples(st.sampled_from(["halt", "halt", "go_on"]), st.sampled_from(["often", "mine"])),
    st.tuples(st.just("run_now"), st.sampled_from(["each", "often", "mine"])),
    st.tuples(st.just("schedule"), st.sampled_from(MINE)),
    st.just(("unschedule",)),
).map(lambda call: ("tell", "beats", *call))


def halted_when_due(name: str, away: float) -> list[Step]:
    """A schedule is paused while its tick is due and cannot begin."""
    calls: list[Step] = [("pause",), ("wait", away), ("halt", name), ("resume",), ("wait", 0.5)]
    return [call if call[0] == "wait" else ("tell", "beats", *call) for call in calls]


let_gos = st.builds(let_go, st.just("keyed"), st.sampled_from("ab"), st.integers(1, 2))
halts = st.builds(halted_when_due, st.sampled_from(["often", "mine"]), st.sampled_from([0.2, 0.5]))
waits = st.tuples(st.just("wait"), st.sampled_from([0.02, 0.1, 0.3, 1.0]))
disasters = st.one_of(
    st.tuples(st.sampled_from(["outage", "freeze"]), st.integers(0, 2), st.sampled_from([0.1, 0.5, 1.5])),
    st.tuples(st.just("burst"), st.integers(0, 2), st.just("orders"), st.sampled_from(KINDS)),
)
kills = st.sampled_from([("kill",), ("worker",)])
calls = st.sampled_from(
    [
        *[pauses] * 2,
        *[key_pauses] * 2,
        *[repeats] * 3,
        *[schedules] * 3,
        *[waits] * 2,
        *[kills] * 2,
        *[disasters] * 2,
    ]
)
phrases = st.sampled_from(
    [*[emits] * 4, *[crowds] * 4, halts, let_gos, *[calls.flatmap(lambda step: step).map(lambda step: [step])] * 6]
)
histories = st.lists(phrases.flatmap(lambda phrase: phrase), min_size=16, max_size=36).map(
    lambda history: list(chain.from_iterable(history))
)


def go_through(history: list[Step], server: LocalServer, processes: Sequence[ServerProcess]) -> None:
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


@at_random(6)
@given(history=histories)
def test_every_mixed_history_is_as_the_models_say(history: list[Step], server: StandaloneServer) -> None:
    go_through(history, server, [server])


@at_random(3)
@given(history=histories)
def test_every_mixed_history_on_a_cluster_is_as_the_models_say(history: list[Step], own_cluster: LocalCluster) -> None:
    go_through(history, own_cluster, own_cluster.nodes)
