"""Schedules in a declaration: what is refused, and by which sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from oxherd import Cron, DeclarationError, Every, Failure, Keyring, Oxherd, Schedule, UsageError
from oxherd.declared_schedules import digest_of
from oxherd.testing import captured


class Report(BaseModel):
    name: str


NIGHTLY = Schedule(Cron("0 2 * * *"), Report(name="a"))


@pytest.mark.parametrize(
    ("schedules", "sentence"),
    [
        ([NIGHTLY], 'schedules must be a mapping, such as {"nightly": Schedule(Cron("0 2 * * *"), payload)}'),
        ({"nightly": Every(5)}, "the schedule nightly must be a Schedule(when, payload), and is of the type Every"),
        ({"a b": NIGHTLY}, "'a b' is no schedule name"),
        ({5: NIGHTLY}, "'5' is no schedule name"),
        ({"nightly": Schedule(Every(5), {"name": 7})}, "the schedule nightly: the payload does not fit: name: "),
        ({"nightly": Schedule(Every(5), Report(name="x" * 99))}, "the schedule nightly: the payload is "),
        ({str(n): NIGHTLY for n in range(1_001)}, "an event has at most 1,000 schedules in code"),
    ],
)
def test_schedules_that_are_none_are_refused(schedules: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Oxherd().declare("report.write", Report, schedules=schedules, max_payload=64)
    assert sentence in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("0 2 * * *", 1), "A Schedule begins with a Cron(...) or an Every(...)"),
        ((Every(5), 1, "some"), 'missed must be "one", "none" or "all"'),
        ((Every(5), 1, None), 'missed must be "one", "none" or "all"'),
    ],
)
def test_a_schedule_of_something_else_is_refused(arguments: Any, sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Schedule(*arguments)
    assert sentence in str(caught.value)


def test_an_event_that_takes_failures_has_no_schedule() -> None:
    schedules: Any = {"nightly": Schedule(Every(5), dict[str, Any]())}
    with pytest.raises(DeclarationError, match="a Failure has no schedule"):
        Oxherd().declare("report.failed", Failure, schedules=schedules)


async def test_a_schedule_in_code_is_neither_made_nor_ended_at_run_time() -> None:
    herd = Oxherd()
    event = herd.declare("report.write", Report, schedules={"nightly": NIGHTLY})
    with pytest.raises(DeclarationError, match="the schedule nightly stands in code"):
        await event.schedule("nightly", Every(5), Report(name="b"))
    with pytest.raises(DeclarationError, match="the schedule nightly stands in code"):
        await event.unschedule("nightly")


def test_the_sync_forms_do_the_same_in_a_test_and_refuse_to_block_a_loop() -> None:
    herd = Oxherd()
    event = herd.declare("report.write", Report, schedules={"nightly": NIGHTLY})
    with captured(herd) as emits:
        event.schedule_sync("often", Every(5), Report(name="b"))
        assert emits.schedules["report.write", "often"].payload == Report(name="b")
        assert event.unschedule_sync("often")
        assert not event.unschedule_sync("often")


async def test_in_a_test_a_schedule_in_code_is_run_and_others_need_a_server() -> None:
    herd = Oxherd()
    event = herd.declare("report.write", Report, schedules={"nightly": NIGHTLY})
    with captured(herd) as emits:
        await event.run_schedule("nightly")
        assert emits.of(event) == [Report(name="a")]
        assert await event.schedules() == []
        for call in (event.pause_schedule, event.resume_schedule):
            with pytest.raises(UsageError, match="needs a server"):
                await call("nightly")
        with pytest.raises(UsageError, match="schedule_sync would block"):
            event.schedule_sync("often", Every(5), Report(name="b"))


def test_the_sync_forms_reach_a_server(standalone: str, prefix: str) -> None:
    herd = Oxherd(standalone, prefix=prefix)
    event = herd.declare("report.write", Report)
    try:
        event.schedule_sync("yearly", Cron("0 0 1 1 *"), Report(name="b"))
        assert event.unschedule_sync("yearly")
        assert not event.unschedule_sync("yearly")
    finally:
        herd.close_sync()


def digest(herd: Oxherd, name: str, payload: str, **options: Any) -> str:
    schedules = {"nightly": Schedule(Cron("0 2 * * *"), Report(name=payload))}
    declaration = herd.declare(name, Report, schedules=schedules, **options).declaration
    return digest_of(declaration.schedules, declaration.options, declaration.payload)


def test_what_tells_versions_apart_says_nothing_of_a_sealed_payload() -> None:
    herd, key = Oxherd(), Keyring.generate()
    plain = [digest(herd, f"plain.{n}", text) for n, text in enumerate("aab")]
    sealed = [digest(herd, f"sealed.{n}", text, seal=Keyring({"k": key})) for n, text in enumerate("aab")]
    other = digest(herd, "sealed.other", "a", seal=Keyring({"k": Keyring.generate()}))
    for first, same, different in (plain, sealed):
        assert first == same
        assert first != different
    assert len({plain[0], sealed[0], other}) == 3
