"""The account of a drill finds what was lost, whatever else happened; pure."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from oxherd.drills.ledger import Answer, Ledger
from oxherd.drills.reconcile import Expected, Facts, Row, Run, reconcile

PLACES = 3


def ledger(**answers: Answer) -> Ledger:
    """Emits by id; each was answered at 10.0."""
    made = Ledger()
    for event_id, answer in answers.items():
        entry = made.emitting(event_id, "drill.work")
        entry.answer, entry.at = answer, 10.0
    return made


def account(
    emits: Ledger,
    runs: Sequence[Run] = (),
    *,
    expected: Expected | None = None,
    done: Sequence[str] = (),
    **facts: object,
) -> Row:
    return reconcile(
        Facts(ledger=emits, runs=list(runs), done=set(done), places=PLACES, **facts),  # pyright: ignore[reportArgumentType]
        expected or Expected(),
    )


def run(event_id: str, fence: int = 1, outcome: str | None = "completed", began: float = 1.0, **more: float) -> Run:
    ended = None if outcome is None else began + more.pop("took", 0.5)
    return Run(event_id, fence, began, ended, outcome, **more)


ACKNOWLEDGED = Answer.ACKNOWLEDGED


def test_what_was_acknowledged_and_completed_is_in_order() -> None:
    row = account(ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED), [run("a"), run("b")])
    assert (row.emitted, row.acknowledged, row.processed, row.lost, row.wrong) == (2, 2, 2, 0, [])


def test_what_was_acknowledged_and_is_nowhere_is_lost() -> None:
    row = account(ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED), [run("a")])
    assert (row.processed, row.lost) == (1, 1)
    assert row.wrong == ["1 acknowledged and lost (b)"]


def test_what_was_begun_by_a_killed_worker_and_never_again_is_lost() -> None:
    row = account(ledger(a=ACKNOWLEDGED), [run("a", outcome=None, killed=2.0)])
    assert row.lost == 1


def test_a_handler_that_came_to_its_end_counts_although_its_worker_died_before_it_could_say_so() -> None:
    row = account(ledger(a=ACKNOWLEDGED), [run("a", outcome=None, killed=2.0)], done=["a"])
    assert (row.lost, row.ends_missing, row.wrong) == (0, 0, [])


def test_what_still_waits_is_not_lost_and_not_in_order_either() -> None:
    row = account(ledger(a=ACKNOWLEDGED), stored={"a": "wait"})
    assert row.lost == 0
    assert row.wrong == ["1 still in Redis (a)"]


def test_an_emit_without_an_answer_may_have_run_or_not_but_one_that_was_refused_may_not() -> None:
    emits = ledger(a=Answer.UNKNOWN, b=Answer.UNKNOWN, c=Answer.REFUSED, d=Answer.REFUSED)
    row = account(emits, [run("a"), run("c")])
    assert row.wrong == ["1 ran although the emit was told that it is not stored (c)"]


def test_a_run_of_what_nobody_has_emitted_is_wrong() -> None:
    assert account(ledger(), [run("a")]).wrong == ["1 ran although nobody has emitted them (a)"]


def test_a_second_run_is_one_unless_the_first_was_put_back_or_is_to_be_tried_again() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED, c=ACKNOWLEDGED)
    runs = [
        run("a", 1, "requeued"),
        run("a", 2),
        run("b", 1, "retrying"),
        run("b", 2),
        run("c", 1, "lost"),
        run("c", 2),
    ]
    row = account(emits, runs)
    assert row.twice == 1
    assert row.wrong == ["1 ran twice without reason (c)"]


def test_no_more_may_run_twice_than_could_run_at_once() -> None:
    emits = ledger(**dict.fromkeys("abcd", ACKNOWLEDGED))
    runs = [run(event_id, fence) for event_id in "abcd" for fence in (1, 2)]
    assert account(emits, runs[:6], done="d", expected=Expected(repeats=True)).wrong == []
    assert account(emits, runs, expected=Expected(repeats=True)).wrong != []


def test_a_begin_without_an_end_is_wrong_unless_its_worker_was_killed() -> None:
    row = account(ledger(a=ACKNOWLEDGED), [run("a", outcome=None)], done=["a"])
    assert row.ends_missing == 1
    assert row.wrong == ["1 without an end, of a worker that was not killed (a)"]


def test_silence_counts_between_the_end_of_the_fault_and_the_end_of_the_load() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED, c=ACKNOWLEDGED)
    runs = [run("a", began=100.0), run("b", began=117.0), run("c", began=118.0)]
    row = account(emits, runs, mended=110.0, quiet=119.0)
    assert row.silence == 7.0
    assert row.wrong == ["silent for 7.0 s after the fault was over"]


def test_an_overlap_lasts_until_the_older_run_ends_or_its_worker_is_killed() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED)
    runs = [
        run("a", 1, "lost", began=1.0, took=2.5),
        run("a", 2, "completed", began=3.0, took=5.0),
        run("b", 1, None, began=1.0, killed=3.1),
        run("b", 2, "completed", began=3.0, took=1.0),
    ]
    assert account(emits, runs, expected=Expected(repeats=True)).overlap == 0.5


def test_what_was_erased_by_intent_is_told_apart_from_what_was_lost() -> None:
    emits = ledger(a=ACKNOWLEDGED, b=ACKNOWLEDGED)
    emits.entries["b"].at = 20.0
    row = account(emits, erased_at=15.0, expected=Expected(erases=True))
    assert (row.erased, row.lost) == (1, 1)


IDS = [f"e{number}" for number in range(6)]
OUTCOMES = ["completed", "failed", "retrying", "requeued", "lost", None]
RUNS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(OUTCOMES), st.booleans()), max_size=20)


@given(st.dictionaries(st.sampled_from(IDS), st.sampled_from(list(Answer))), RUNS, st.sets(st.sampled_from(IDS)))
def test_every_acknowledged_event_is_accounted_for_exactly_once(
    answers: dict[str, Answer], history: list[tuple[str, str | None, bool]], waiting: set[str]
) -> None:
    runs = [
        run(event_id, fence, outcome, killed=9.0) if killed and outcome is None else run(event_id, fence, outcome)
        for fence, (event_id, outcome, killed) in enumerate(history, 1)
    ]
    row = account(ledger(**answers), runs, stored=dict.fromkeys(waiting, "wait"))
    final = {each.event_id for each in runs if each.outcome in ("completed", "failed")}
    acknowledged = {event_id for event_id, answer in answers.items() if answer is ACKNOWLEDGED}
    assert row.lost == len(acknowledged - final - waiting)
    assert row.processed == len(acknowledged & final)
    if row.lost or row.ends_missing:
        assert row.wrong
