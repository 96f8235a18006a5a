"""Reconciling a drill's evidence; pure."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from oxherd.drills.ledger import EmitResult, Ledger
from oxherd.drills.reconcile import Evidence, Expected, HandlerRun, Row, reconcile

SLOTS = 3


def ledger(**results: EmitResult) -> Ledger:
    """Emits by id, each ended at 10.0."""
    made = Ledger()
    for event_id, result in results.items():
        entry = made.record_emit(event_id, "drill.work")
        entry.result, entry.at = result, 10.0
    return made


def row_of(
    emits: Ledger,
    runs: Sequence[HandlerRun] = (),
    *,
    expected: Expected | None = None,
    done: Sequence[str] = (),
    **evidence: object,
) -> Row:
    return reconcile(
        Evidence(ledger=emits, runs=list(runs), done=set(done), slots=SLOTS, **evidence),  # pyright: ignore[reportArgumentType]
        expected or Expected(),
    )


def run(
    event_id: str, fence: int = 1, outcome: str | None = "completed", began: float = 1.0, **more: float
) -> HandlerRun:
    ended = None if outcome is None else began + more.pop("took", 0.5)
    return HandlerRun(event_id, fence, began, ended, outcome, **more)


ACKNOWLEDGED = EmitResult.ACKNOWLEDGED


def test_acknowledged_and_completed_is_as_promised() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED), [run("a"), run("b")])
    assert (row.emitted, row.acknowledged, row.processed, row.lost, row.wrong) == (2, 2, 2, 0, [])


def test_acknowledged_and_nowhere_is_lost() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED), [run("a")])
    assert (row.processed, row.lost) == (1, 1)
    assert row.wrong == ["1 acknowledged and lost (b)"]


def test_begun_by_a_killed_worker_and_never_again_is_lost() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED), [run("a", outcome=None, killed=2.0)])
    assert row.lost == 1


def test_a_handler_that_noted_its_end_counts_even_if_its_worker_died_before_logging_it() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED), [run("a", outcome=None, killed=2.0)], done=["a"])
    assert (row.lost, row.ends_missing, row.wrong) == (0, 0, [])


def test_a_waiting_event_is_not_lost_but_wrong() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED), states={"a": "wait"})
    assert row.lost == 0
    assert row.wrong == ["1 still in Redis (a)"]


def test_an_emit_of_unknown_result_may_run_but_a_refused_one_may_not() -> None:
    emits = ledger(a=EmitResult.UNKNOWN, b=EmitResult.UNKNOWN, c=EmitResult.REFUSED, d=EmitResult.REFUSED)
    row = row_of(emits, [run("a"), run("c")])
    assert row.wrong == ["1 ran or stored although the emit was refused (c)"]


def test_a_run_of_an_event_never_emitted_is_wrong() -> None:
    assert row_of(ledger(), [run("a")]).wrong == ["1 ran but never emitted (a)"]


def test_a_second_run_counts_unless_the_first_was_requeued_or_retried() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED, c=ACKNOWLEDGED)
    runs = [
        run("a", 1, "requeued"),
        run("a", 2),
        run("b", 1, "retrying"),
        run("b", 2),
        run("c", 1, "lost"),
        run("c", 2),
    ]
    row = row_of(emits, runs)
    assert row.twice == 1
    assert row.wrong == ["1 ran twice unexpectedly (c)"]


def test_at_most_as_many_may_run_twice_as_could_run_at_once() -> None:
    emits = ledger(**dict.fromkeys("abcd", ACKNOWLEDGED))
    runs = [run(event_id, fence) for event_id in "abcd" for fence in (1, 2)]
    assert row_of(emits, runs[:6], done="d", expected=Expected(repeats=True)).wrong == []
    assert row_of(emits, runs, expected=Expected(repeats=True)).wrong != []


def test_a_begin_without_an_end_is_wrong_unless_its_worker_was_killed() -> None:
    row = row_of(ledger(a=ACKNOWLEDGED), [run("a", outcome=None)], done=["a"])
    assert row.ends_missing == 1
    assert row.wrong == ["1 begun without an end by a worker that was not killed (a)"]


def test_silence_counts_between_the_end_of_the_fault_and_the_end_of_the_load() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED, c=ACKNOWLEDGED)
    runs = [run("a", began=100.0), run("b", began=117.0), run("c", began=118.0)]
    row = row_of(emits, runs, fault_ended_at=110.0, load_ended_at=119.0)
    assert row.silence == 7.0
    assert row.wrong == ["no event begun for 7.0 s after the fault"]


def test_an_overlap_lasts_until_the_older_run_ends_or_its_worker_is_killed() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED)
    runs = [
        run("a", 1, "lost", began=1.0, took=2.5),
        run("a", 2, "completed", began=3.0, took=5.0),
        run("b", 1, None, began=1.0, killed=3.1),
        run("b", 2, "completed", began=3.0, took=1.0),
    ]
    assert row_of(emits, runs, expected=Expected(repeats=True)).overlap == 0.5


def test_erased_events_are_not_counted_as_lost() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED)
    emits.entries["b"].at = 20.0
    row = row_of(emits, erased_at=15.0, expected=Expected(erases=True))
    assert (row.erased, row.lost) == (1, 1)


IDS = [f"e{number}" for number in range(6)]
OUTCOMES = ["completed", "failed", "retrying", "requeued", "lost", None]
RUNS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(OUTCOMES), st.booleans()), max_size=20)


@given(st.dictionaries(st.sampled_from(IDS), st.sampled_from(list(EmitResult))), RUNS, st.sets(st.sampled_from(IDS)))
def test_every_acknowledged_event_is_accounted_for_exactly_once(
    answers: dict[str, EmitResult], history: list[tuple[str, str | None, bool]], waiting: set[str]
) -> None:
    runs = [
        run(event_id, fence, outcome, killed=9.0) if killed and outcome is None else run(event_id, fence, outcome)
        for fence, (event_id, outcome, killed) in enumerate(history, 1)
    ]
    row = row_of(ledger(**answers), runs, states=dict.fromkeys(waiting, "wait"))
    final = {each.event_id for each in runs if each.outcome in ("completed", "failed")}
    acknowledged = {event_id for event_id, answer in answers.items() if answer is ACKNOWLEDGED}
    assert row.lost == len(acknowledged - final - waiting)
    assert row.processed == len(acknowledged & final)
    if row.lost or row.ends_missing:
        assert row.wrong
