"""The counts of lifecycle signals, which are queued before they are counted."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd.signals import EventBegan, EventEnded, EventsEmitted, Signals, WorkerStopped
from oxherd.telemetry.metrics.counts import BOUNDS, OUTCOMES, Counts, EventTotals, Totals


def raise_it(error: BaseException) -> None:
    raise error


def begun_and_ended(totals: Totals) -> tuple[int, int]:
    event = totals.events.get("e", EventTotals())
    return event.begun, sum(event.ended.values())


def began(attempt: int = 1) -> EventBegan:
    return EventBegan("e", "id", attempt, 1, None, due_ms=int(time.time() * 1000) - 100)


def ended() -> EventEnded:
    return EventEnded("e", "id", 1, 1, "completed", 20.0)


@pytest.mark.parametrize("events", [1, 127, 128, 129, 1000])
def test_a_reader_sees_all_that_was_said_before(events: int) -> None:
    signals, counts = Signals(raise_it), Counts()
    counts.follow(signals)
    for number in range(events):
        signals.emit(began(attempt=1 + number % 2))
    assert counts.read(begun_and_ended) == (events, 0)
    for _ in range(events):
        signals.emit(ended())
    assert counts.read(begun_and_ended) == (events, events)
    found: EventTotals = counts.read(lambda totals: totals.events["e"])
    assert (found.durations[BOUNDS.index(0.025)], sum(found.lags)) == (events, (events + 1) // 2)
    assert found.duration_seconds == pytest.approx(0.02 * events)
    assert found.lag_seconds >= 0.1 * sum(found.lags)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ef"),
            st.sampled_from(OUTCOMES),
            st.floats(0, 1e7) | st.sampled_from(BOUNDS).map(lambda bound: bound * 1000),
        ),
        max_size=300,
    )
)
def test_each_duration_is_counted_under_the_first_bound_that_it_does_not_exceed(
    ends: list[tuple[str, str, float]],
) -> None:
    signals, counts = Signals(raise_it), Counts()
    counts.follow(signals)
    for name, outcome, duration_ms in ends:
        signals.emit(EventBegan(name, "id", 2, 1, None))
        signals.emit(EventEnded(name, "id", 2, 1, outcome, duration_ms))
    for name in {name for name, _, _ in ends}:
        mine = [(outcome, duration_ms) for each, outcome, duration_ms in ends if each == name]
        found: EventTotals = counts.read(lambda totals, name=name: totals.events[name])
        assert found.ended == {outcome: [each for each, _ in mine].count(outcome) for outcome in OUTCOMES}
        above = [*(bound * 1000 for bound in BOUNDS), math.inf]
        assert found.durations == [
            sum(low < duration_ms <= high for _, duration_ms in mine)
            for low, high in zip([-1.0, *above], above, strict=False)
        ]
        assert found.duration_seconds == pytest.approx(sum(duration_ms for _, duration_ms in mine) / 1000)
        assert (found.begun, sum(found.lags)) == (len(mine), 0)


def test_none_is_ever_seen_ended_before_it_has_begun_whoever_reads_meanwhile() -> None:
    signals, counts = Signals(raise_it), Counts()
    counts.follow(signals)
    each, workers = 3000, 3

    def work() -> None:
        for _ in range(each):
            signals.emit(began())
            signals.emit(ended())

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    seen = [(0, 0)]
    while any(thread.is_alive() for thread in threads):
        seen.append(counts.read(begun_and_ended))
    for thread in threads:
        thread.join()
    assert all(begun >= ended for begun, ended in seen)
    assert seen == sorted(seen)
    assert counts.read(begun_and_ended) == (each * workers, each * workers)


def test_a_subscriber_hears_of_the_kinds_that_it_names_and_of_all_without() -> None:
    signals = Signals(raise_it)
    heard: dict[str, list[Any]] = {"ends": [], "all": [], "emits": []}
    signals.subscribe(heard["ends"].append, EventEnded, WorkerStopped)
    signals.subscribe(heard["all"].append)
    signals.subscribe(heard["emits"].append, EventsEmitted)
    said = [began(), ended()]
    for signal in said:
        signals.emit(signal)
    signals.emitted("e", 2)
    assert heard == {"ends": [said[1]], "all": said, "emits": [EventsEmitted("e", 2)]}
