"""Which threads take an event along, and that nothing of it stays with those that do not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from oxherd.context import Context, current
from oxherd.worker.threads import carrying_events

EVENT = cast("Context", object())


@pytest.fixture(autouse=True)
def carrying() -> Iterator[None]:
    with carrying_events():
        yield


def in_event(call: Callable[..., Any], *args: Any) -> Any:
    token = current.set(EVENT)
    try:
        return call(*args)
    finally:
        current.reset(token)


def seen_by(start: Callable[[threading.Thread], None]) -> list[object]:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current.get()))
    start(thread)
    thread.join()
    assert "run" not in vars(thread)
    return seen


def test_a_thread_belongs_to_the_event_in_which_it_is_started_and_keeps_nothing_of_it() -> None:
    assert seen_by(lambda thread: in_event(thread.start)) == [EVENT]
    assert seen_by(threading.Thread.start) == [None]


def test_a_thread_of_a_class_of_its_own_runs_its_own_way() -> None:
    seen: list[object] = []

    class Mine(threading.Thread):
        def run(self) -> None:
            seen.append(current.get())

    thread = Mine()
    in_event(thread.start)
    thread.join()
    assert seen == [EVENT]


def test_a_thread_that_cannot_be_started_is_left_as_it_was() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="only be started once"):
        in_event(thread.start)
    assert "run" not in vars(thread)


def test_what_a_pool_is_given_belongs_to_the_event_and_its_threads_to_none() -> None:
    with ThreadPoolExecutor(1) as pool:
        # Its thread is started here.
        assert in_event(pool.submit, current.get).result() is EVENT
        assert pool.submit(current.get).result() is None
        assert in_event(lambda: list(pool.map(current.get, [None, None]))) == [EVENT, EVENT]


def test_what_a_pool_is_given_fails_as_ever() -> None:
    with ThreadPoolExecutor(1) as pool:
        future = in_event(pool.submit, int, "x")
        assert isinstance(future.exception(), ValueError)
    with pytest.raises(RuntimeError, match="after shutdown"):
        in_event(pool.submit, int)


def test_afterwards_threads_are_as_they_were_unless_another_has_changed_them() -> None:
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with carrying_events():
        assert threading.Thread.start is not before[0]
        assert seen_by(lambda thread: in_event(thread.start)) == [EVENT]
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before
    try:
        with carrying_events():
            ours = threading.Thread.start

            def of_another(self: threading.Thread) -> None:
                ours(self)

            threading.Thread.start = of_another
        assert threading.Thread.start is of_another
        assert seen_by(lambda thread: in_event(thread.start)) == [EVENT]
    finally:
        threading.Thread.start = before[0]
