"""`run_in=Process(...)`: which limits there are, and where they are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from oxherd import DeclarationError, Oxherd, Process

MEMORY: dict[int | str, int] = {
    2**20: 2**20,
    "1024 KiB": 2**20,
    "512 MiB": 512 * 2**20,
    "512MiB": 512 * 2**20,
    "1.5 GiB": 3 * 2**29,
    2**50: 2**50,
}
NO_MEMORY: list[Any] = [
    0, -1, True, 1.5, math.nan, math.inf, 2**20 - 1, 2**50 + 1, 10**400, b"1 MiB", [], "", "512", "512 MB", "512 mib",
    "-1 MiB", "1 KiB", " 1 MiB", "1 MiB\n", "1e3 MiB", "nan MiB", "9999999 GiB", "1" * 5000 + " MiB", "\u0661 GiB",
]  # fmt: skip
NO_EVENTS: list[Any] = [0, -1, True, 1.0, "1000", math.inf, 10**400]


@pytest.mark.parametrize(("memory", "expected"), MEMORY.items())
def test_memory_is_a_number_of_bytes_or_a_text_with_its_unit(memory: int | str, expected: int) -> None:
    assert Process(max_memory=memory).max_bytes == expected
    assert Process().max_bytes is None


@pytest.mark.parametrize("memory", NO_MEMORY, ids=lambda value: repr(value)[:20])
def test_what_is_no_memory_is_refused(memory: Any) -> None:
    told = (
        r'^Process\.max_memory must be a text such as "512 MiB" \(KiB, MiB, GiB\), or a whole number of bytes, from 1'
    )
    with pytest.raises(DeclarationError, match=told):
        Process(max_memory=memory)


@pytest.mark.parametrize("events", NO_EVENTS, ids=lambda value: repr(value)[:20])
def test_what_is_no_number_of_events_is_refused(events: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^Process\.max_events must be a whole number of at least 1"):
        Process(max_events=events)


def test_it_is_for_def_handlers_that_can_be_imported() -> None:
    herd = Oxherd()
    limited = Process(max_events=5)
    with pytest.raises(
        DeclarationError, match=r"^order\.placed: an async handler runs in the event loop; make it a def"
    ):

        @herd.event("order.placed", run_in=limited)
        async def placed(order: int) -> None: ...

    with pytest.raises(DeclarationError, match="must be importable; make it a def at the top level"):

        @herd.event("order.placed", run_in=limited)
        def inner(order: int) -> None: ...

    herd.event("order.placed", run_in=limited)(handle)
    handler = herd["order.placed"].handler
    assert handler is not None
    assert (handler.run_in, handler.process) == ("process", limited)
    wrong: Any = Process
    with pytest.raises(DeclarationError, match=r"run_in must be 'thread', 'process' or a Process\(\.\.\.\) for a def"):
        herd.event("order.other", run_in=wrong)(handle)


def handle(order: int) -> None: ...
