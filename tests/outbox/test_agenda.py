"""What a sender does next."""

from __future__ import annotations

from uuid import UUID

from oxherd.outbox.agenda import LOOKS, Agenda
from oxherd.outbox.rows import BATCH, Delivered, Given, Page, Results


def ids(count: int) -> list[UUID]:
    return [UUID(int=number + 1) for number in range(count)]


def agenda(*events: str) -> Agenda:
    return Agenda(lambda: events or ("a", "b"), grace=10.0)


def delivered(selection: Given, left: dict[UUID, str]) -> Delivered:
    sent = [each for each in selection.ids if each not in left]
    return Delivered(list(selection.ids), Results(sent, {}, left))


def test_it_rests_until_something_is_committed() -> None:
    each = agenda()
    assert each.next(0.0) is None
    each.offer([(row_id, "a") for row_id in ids(BATCH + 1)], 0.0)
    first = each.next(0.0)
    assert isinstance(first, Given)
    assert len(first.ids) == BATCH
    each.done(first, delivered(first, {}), 0.0)
    second = each.next(0.0)
    assert second == Given(tuple(ids(BATCH + 1)[BATCH:]))


def test_in_an_outage_it_pauses_longer_each_time_up_to_five_seconds_and_loses_nothing() -> None:
    each, now, pauses = agenda(), 0.0, list[float]()
    each.offer([(ids(1)[0], "a")], now)
    for _ in range(20):
        selection = each.next(now)
        assert isinstance(selection, Given)
        each.done(selection, delivered(selection, {selection.ids[0]: "a"}), now)
        pause = each.next(now)
        assert isinstance(pause, float)
        pauses.append(pause)
        now += pause
    assert pauses[0] <= 0.02
    assert 2.5 <= pauses[-1] <= 5.0
    assert not each.empty


def test_an_event_whose_server_alone_is_away_is_left_to_the_sweeps_for_a_while() -> None:
    each = agenda()
    one, two, three = ids(3)
    each.offer([(one, "a"), (two, "b")], 0.0)
    each.done(Given((one, two)), delivered(Given((one, two)), {one: "a"}), 0.0)
    assert each.empty
    each.offer([(three, "a")], 1.0)
    assert each.empty
    each.offer([(three, "a")], 31.0)
    assert not each.empty


def test_a_row_that_is_not_there_yet_is_looked_for_again_for_a_second() -> None:
    each, now = agenda(), 0.0
    each.offer([(ids(1)[0], "a")], now, looks=LOOKS)
    asked = 0
    while (found := each.next(now)) is not None:
        if isinstance(found, Given):
            asked += 1
            each.done(found, Delivered([], Results()), now)
        elif isinstance(found, float):
            now += found
    assert asked == LOOKS + 1
    assert 0.5 < now < 2.0


def test_a_sweep_goes_on_page_by_page_and_passes_over_an_event_that_is_away() -> None:
    each = agenda("a", "b")
    each.begin_sweeps()
    page = each.next(0.0)
    assert isinstance(page, Page)
    assert page.events == ("a", "b")
    assert page.after is None
    found = ids(BATCH)
    each.done(page, Delivered(found, Results(found[1:], {}, {found[0]: "a"})), 0.0)
    second = each.next(0.0)
    assert isinstance(second, Page)
    assert second == Page(("b",), page.before, found[-1])
    each.done(second, Delivered([], Results()), 0.0)
    pause = each.next(0.0)
    assert isinstance(pause, float)
    assert 3.5 <= pause <= 5.0
    third = each.next(pause)
    assert isinstance(third, Page)
    assert third.events == ("a", "b")
    each.done(third, Delivered([], Results()), pause)
    each.end_sweeps()
    assert each.next(1000.0) is None


def test_what_was_just_committed_goes_before_a_sweep() -> None:
    each = agenda()
    each.begin_sweeps()
    each.offer([(ids(1)[0], "a")], 0.0)
    assert isinstance(each.next(0.0), Given)
