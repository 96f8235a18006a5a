"""Errors whose own code fails: an event of theirs ends as any that fails, and its worker goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oxherd import EventFailed, Oxherd, Retry, RetryIn, Snooze
from oxherd.testing import run_until_empty
from tests.harness import Records


class NoText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class CancelledText(Exception):
    def __str__(self) -> str:
        raise asyncio.CancelledError


class NoDelay(RetryIn):
    def __init__(self) -> None: ...


class AnyDelay(Snooze):
    def __init__(self) -> None:
        self.after = float("inf")


class NoMembers(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError


class NoClass(Exception):
    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError


HOSTILE: list[Any] = [NoText, CancelledText, NoDelay, AnyDelay, lambda: NoMembers("none", [ValueError()]), NoClass]


@pytest.mark.parametrize("make", HOSTILE, ids=["exit", "cancelled", "no delay", "any delay", "no members", "no class"])
@pytest.mark.parametrize("is_async", [True, False], ids=["loop", "thread"])
async def test_an_error_whose_own_code_fails_is_tried_again_as_declared_and_fails_its_event(
    make: Any, is_async: bool, local_herd: Oxherd, records: Records
) -> None:
    async def in_loop(_: int) -> None:
        raise make()

    def in_thread(_: int) -> None:
        raise make()

    event = local_herd.event("order.placed", retry=Retry(attempts=2, delay=0.01))(in_loop if is_async else in_thread)
    async with local_herd:
        emitted = await event.emit(1)
        runs = await run_until_empty(local_herd)
        with pytest.raises(EventFailed):
            await emitted.result(timeout=5)
    assert [run.outcome for run in runs] == ["retrying", "failed"]
    assert all(vars(each)["error"]["type"] == "BackoffError" for each in records.named("queue.error"))
