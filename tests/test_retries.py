"""Whether an event is tried again after an error, and when: what `Retry` declares, and what a handler may raise."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxherd import DeclarationError, Discard, OxherdError, RateLimited, Retry, RetryIn, Snooze
from oxherd.retries import AS_DECLARED, FINAL, Decision, Verdict, judge
from oxherd.worker.running.outcome import Outcome, RunEnd, Write, ending_of

NETWORK = Retry(on=ConnectionError)
NOT_VALUES = Retry(never=(ValueError, KeyError))
BOTH = Retry(on=(OSError, asyncio.CancelledError), never=ConnectionRefusedError)
DISCARD = Verdict(Decision.DISCARD)
IN_2_S, SNOOZE_3_S = Verdict(Decision.RETRY_IN, 2000), Verdict(Decision.SNOOZE, 3000)
REST_4_S = Verdict(Decision.RATE_LIMITED, 4000)


def group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("several", errors)


@pytest.mark.parametrize(
    ("retry", "error", "verdict"),
    [
        (Retry(), ValueError(), AS_DECLARED),
        (Retry(), KeyboardInterrupt(), AS_DECLARED),
        (NETWORK, ConnectionError(), AS_DECLARED),
        (NETWORK, ConnectionResetError(), AS_DECLARED),
        (NETWORK, OSError(), FINAL),
        (NETWORK, asyncio.CancelledError(), FINAL),
        (NOT_VALUES, ConnectionError(), AS_DECLARED),
        (NOT_VALUES, UnicodeError(), FINAL),
        (NOT_VALUES, KeyError(), FINAL),
        (NOT_VALUES, asyncio.CancelledError(), AS_DECLARED),
        (BOTH, TimeoutError(), AS_DECLARED),
        (BOTH, ConnectionResetError(), AS_DECLARED),
        (BOTH, ConnectionRefusedError(), FINAL),
        (BOTH, asyncio.CancelledError(), AS_DECLARED),
        (BOTH, ValueError(), FINAL),
        (Retry(on=Exception), asyncio.CancelledError(), FINAL),
        (Retry(on=Exception), SystemExit(), FINAL),
        # Each of a group has to allow it.
        (NETWORK, group(ConnectionError(), group(ConnectionError())), AS_DECLARED),
        (NETWORK, group(ConnectionError(), group(ValueError())), FINAL),
        (NOT_VALUES, group(OSError(), KeyError()), FINAL),
        (BOTH, group(OSError(), ConnectionRefusedError()), FINAL),
        # What a handler asks for goes before what is declared.
        (NETWORK, Discard("no"), DISCARD),
        (NETWORK, RetryIn(2), IN_2_S),
        (NETWORK, Snooze(timedelta(seconds=3)), SNOOZE_3_S),
        (Retry(never=OxherdError), RetryIn(2), IN_2_S),
        (NETWORK, group(ValueError(), Snooze(3)), SNOOZE_3_S),
        (NETWORK, group(Snooze(3), RetryIn(2)), IN_2_S),
        (NETWORK, RateLimited(4, "429"), REST_4_S),
        (NETWORK, group(Snooze(60), RateLimited(4), RateLimited(timedelta(seconds=1))), REST_4_S),
        (NETWORK, group(RateLimited(4), RetryIn(2)), IN_2_S),
        (NETWORK, group(Snooze(3), group(RetryIn(2), group(Discard("no")))), DISCARD),
        (NETWORK, group(RetryIn(1), RetryIn(2), RetryIn(0)), IN_2_S),
        (NETWORK, group(Snooze(3), Snooze(1)), SNOOZE_3_S),
        # A millisecond that has begun counts.
        (Retry(), RetryIn(0.0001), Verdict(Decision.RETRY_IN, 1)),
        (Retry(), Snooze(0), Verdict(Decision.SNOOZE, 0)),
    ],
)
def test_an_error_means_what_the_declaration_says_unless_the_handler_asks_for_something_else(
    retry: Retry, error: BaseException, verdict: Verdict
) -> None:
    assert judge(error, retry, 1, ask=True) == verdict
    assert judge(error, retry, 1, ask=False) == verdict


def deep() -> BaseException:
    error: BaseException = ValueError()
    for _ in range(5000):
        error = group(error)
    return error


def test_a_group_may_be_as_deep_as_it_likes() -> None:
    assert judge(deep(), NETWORK, 1, ask=False) == FINAL


ERRORS = [ConnectionResetError, ConnectionRefusedError, TimeoutError, ValueError, KeyError, asyncio.CancelledError]
BASES: list[type[BaseException]] = [*ERRORS, Exception, OSError, ConnectionError, LookupError]
CLASSES = st.one_of(st.none(), st.lists(st.sampled_from(BASES), min_size=1, max_size=3).map(tuple))
LEAVES = st.one_of(
    st.sampled_from(ERRORS).map(lambda kind: kind()),
    st.builds(RetryIn, st.integers(0, 100)),
    st.builds(Snooze, st.integers(0, 100)),
    st.just(Discard("no")),
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda each: group(*each)))


def leaves_of(error: BaseException) -> list[BaseException]:
    inner: list[BaseException] = list(getattr(error, "exceptions", []))
    return [leaf for each in inner for leaf in leaves_of(each)] if inner else [error]


@given(TREES, CLASSES, CLASSES)
def test_whatever_is_raised_the_verdict_follows_from_its_leaves(
    error: BaseException, on: tuple[type[BaseException], ...] | None, never: tuple[type[BaseException], ...] | None
) -> None:
    shadowed = [kind for kind in on or () if issubclass(kind, never or ())]
    if shadowed:
        with pytest.raises(DeclarationError, match="take one of them out"):
            Retry(on=on, never=never)
        return
    verdict = judge(error, Retry(on=on, never=never), 1, ask=True)
    leaves = leaves_of(error)
    kinds = {type(leaf) for leaf in leaves}
    if Discard in kinds:
        assert verdict.decision is Decision.DISCARD
    elif RetryIn in kinds or Snooze in kinds:
        chosen = RetryIn if RetryIn in kinds else Snooze
        assert verdict.decision is (Decision.RETRY_IN if chosen is RetryIn else Decision.SNOOZE)
        assert verdict.delay_ms == max(leaf.after for leaf in leaves if isinstance(leaf, chosen)) * 1000
    else:
        refused = [kind for kind in kinds if issubclass(kind, never or ()) or (on and not issubclass(kind, on))]
        assert verdict == (FINAL if refused else AS_DECLARED)


# -- a function for the delay


@pytest.mark.parametrize(
    ("returned", "delay_ms"),
    [
        (2, 2000),
        (0.0001, 1),
        (0, 0),
        (timedelta(minutes=1), 60_000),
        (3600, 3_600_000),
        (3601, 3_600_000),
        (2**5000, 3_600_000),
        (math.inf, 3_600_000),
        (timedelta.max, 3_600_000),
    ],
)
def test_a_function_says_the_delay_and_max_delay_bounds_it(returned: Any, delay_ms: int) -> None:
    assert judge(ValueError(), Retry(backoff=lambda attempt, error: returned), 1, ask=True) == Verdict(
        delay_ms=delay_ms
    )


async def coroutine() -> int:
    return 5


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "a NoneType"),
        (-1, "less than 0, or NaN"),
        (math.nan, "less than 0, or NaN"),
        (-math.inf, "less than 0, or NaN"),
        ("5", "a str"),
        (True, "a bool"),
        (datetime.now(), "a datetime"),
        (timedelta(-1), "less than 0, or NaN"),
        (coroutine, "a coroutine"),
        ([5], "a list"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_delay_is_a_fault_and_the_declared_delay_is_taken(returned: Any, said: str) -> None:
    def backoff(attempt: int, error: BaseException) -> Any:
        return returned() if returned is coroutine else returned

    verdict = judge(ValueError(), Retry(backoff=backoff, max_delay=1), 1, ask=True)
    assert (verdict.decision, verdict.delay_ms) == (Decision.AS_DECLARED, None)
    assert verdict.fault == (
        f"the function for Retry.backoff returned {said}; let it return seconds or a timedelta of at least 0: the "
        "exponential delay is taken instead"
    )


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, Discard])
def test_a_function_that_raises_is_a_fault_that_shows_no_message(kind: type[BaseException]) -> None:
    def backoff(attempt: int, error: BaseException) -> float:
        raise kind("card 4111")

    # In the main thread Python's own KeyboardInterrupt is raised.
    with ThreadPoolExecutor(1) as threads:
        fault = threads.submit(judge, ValueError(), Retry(backoff=backoff), 1, ask=True).result().fault
    assert fault is not None
    assert fault.startswith(f"the function for Retry.backoff raised {kind.__name__}; let it return seconds")
    assert "4111" not in fault


def test_an_interrupt_of_pythons_own_that_comes_through_a_function_is_nobodys_fault() -> None:
    def backoff(attempt: int, error: BaseException) -> float:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            judge(ValueError(), Retry(backoff=backoff), 1, ask=True)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_function_that_raises_the_error_again_leaves_its_traceback_as_it_was() -> None:
    def backoff(attempt: int, error: BaseException) -> float:
        raise error

    with pytest.raises(ValueError, match="as always") as caught:
        raise ValueError("as always")
    before = caught.value.__traceback__
    assert judge(caught.value, Retry(backoff=backoff), 1, ask=True).fault is not None
    assert caught.value.__traceback__ is before


def test_a_function_is_asked_only_where_another_attempt_may_follow() -> None:
    asked: list[tuple[int, str]] = []

    def backoff(attempt: int, error: BaseException) -> int:
        asked.append((attempt, str(error)))
        return 5

    retry = Retry(backoff=backoff, never=ValueError)
    judge(ValueError("a"), retry, 1, ask=True)
    judge(RetryIn(5, "b"), retry, 2, ask=True)
    judge(OSError("c"), retry, 3, ask=False)
    assert judge(OSError("d"), retry, 4, ask=True) == Verdict(delay_ms=5000)
    assert asked == [(4, "d")]


def test_what_bullmq_is_told_of_a_function_is_the_exponential_delay() -> None:
    retry = Retry(attempts=4, delay=2, backoff=lambda attempt, error: 5, on=OSError, never=ConnectionError)
    assert retry.options == Retry(attempts=4, delay=2).options


# -- what is refused


class Group(ExceptionGroup[Exception]):
    pass


class AsyncCall:
    async def __call__(self, attempt: int, error: BaseException) -> float:
        return 5


async def async_backoff(attempt: int, error: BaseException) -> float:
    return 5


def one_argument(attempt: int) -> float:
    return 5


def three_arguments(attempt: int, error: BaseException, more: int) -> float:
    return 5


def any_arguments(*both: object) -> float:
    return 5


REFUSED: dict[str, tuple[Callable[[Any], Any], Any, str]] = {
    "a name": (lambda on: Retry(on=on), "ConnectionError", "its name as a text: write the class itself"),
    "a name in a tuple": (lambda on: Retry(on=on), (OSError, "x"), "its name as a text: write the class itself"),
    "an error": (lambda on: Retry(on=on), ConnectionError("4111"), "an error: write ConnectionError, its class"),
    "a list": (lambda on: Retry(on=on), [OSError], "or a tuple of them; not a list"),
    "a set": (lambda on: Retry(never=on), {OSError}, "or a tuple of them; not a set"),
    "another class": (lambda on: Retry(never=on), int, "the class int, which is no error's"),
    "a union": (lambda on: Retry(on=on), OSError | ValueError, "not a UnionType"),
    "nothing to try again": (lambda on: Retry(on=on), (), r"names no error class; Retry\(attempts=1\)"),
    "nothing to fail at": (lambda on: Retry(never=on), (), "names no error class; leave it out"),
    "every error": (lambda on: Retry(on=on), BaseException, "leave it out to try again after all errors"),
    "never any": (lambda on: Retry(never=on), BaseException, r"write Retry\(attempts=1\)"),
    "a group": (lambda on: Retry(on=on), Group, "a group of errors; name the errors that are in it"),
    "the same in both": (lambda on: Retry(on=on, never=on), OSError, "names OSError, and Retry.never it, which wins"),
    "a base": (
        lambda on: Retry(on=on, never=OSError), ConnectionError,
        "names ConnectionError, and Retry.never its base OSError, which wins",
    ),
    "a kind of backoff": (lambda backoff: Retry(backoff=backoff), "linear", "or a function of the attempt and its"),
    "a class": (lambda backoff: Retry(backoff=backoff), timedelta, "or a function of the attempt and its error"),
    "seconds": (lambda backoff: Retry(backoff=backoff), 5, "or a function of the attempt and its error"),
    "one argument": (lambda backoff: Retry(backoff=backoff), one_argument, "must take two arguments"),
    "three": (lambda backoff: Retry(backoff=backoff), three_arguments, "must take two arguments"),
    "async": (lambda backoff: Retry(backoff=backoff), async_backoff, "must be a plain function, not an async def"),
    "an async object": (lambda backoff: Retry(backoff=backoff), AsyncCall(), "not an async def"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_what_to_write(name: str) -> None:
    take, value, said = REFUSED[name]
    with pytest.raises(DeclarationError, match=said) as caught:
        take(value)
    assert str(caught.value).startswith("Retry.")
    assert str(caught.value).endswith(".")
    assert "4111" not in str(caught.value)


def test_one_class_is_as_good_as_a_tuple_and_functions_may_be_any_that_take_two() -> None:
    assert Retry(on=OSError) == Retry(on=(OSError,))
    assert Retry(on=OSError, never=ConnectionError).never == (ConnectionError,)
    Retry(backoff=lambda attempt, error, more=1: attempt)
    Retry(backoff=any_arguments)
    builtin: Any = max  # of which the signature is not known
    Retry(backoff=builtin)


# -- RetryIn, Snooze and RateLimited


@pytest.mark.parametrize("kind", [RetryIn, Snooze, RateLimited])
def test_a_time_of_its_own_is_checked_where_it_is_raised(kind: Any) -> None:
    for after in (-1, math.nan, math.inf, "60", None, True, 100 * 366 * 86_400, timedelta.max, datetime.now()):
        with pytest.raises(DeclarationError, match=rf"^{kind.__name__}\(\.\.\.\) "):
            kind(after)
    with pytest.raises(DeclarationError, match="message must be a text"):
        kind(60, 5)


@pytest.mark.parametrize("kind", [RetryIn, Snooze, RateLimited])
def test_it_says_when_or_why_and_survives_a_copy(kind: Any) -> None:
    for error, text in ((kind(60), "to be tried again in 60 s"), (kind(timedelta(minutes=1), "closed"), "closed")):
        assert isinstance(error, OxherdError)
        copies: list[Any] = [error, copy.copy(error), pickle.loads(pickle.dumps(error))]
        for each in copies:
            assert (type(each), each.after, str(each)) == (kind, 60, text)


# -- outcomes


@pytest.mark.parametrize(
    ("end", "left", "last", "write"),
    [
        (RunEnd.RAISED, Outcome.RETRYING, Outcome.FAILED, Write.RETRY),
        (RunEnd.RAISED_FINAL, Outcome.FAILED, Outcome.FAILED, Write.FAIL),
        (RunEnd.SNOOZED, Outcome.RETRYING, Outcome.RETRYING, Write.SNOOZE),
        (RunEnd.RATE_LIMITED, Outcome.RETRYING, Outcome.RETRYING, Write.REST),
        (RunEnd.TIMED_OUT, Outcome.RETRYING, Outcome.TIMED_OUT, Write.RETRY),
        (RunEnd.TIMED_OUT_FINAL, Outcome.TIMED_OUT, Outcome.TIMED_OUT, Write.FAIL),
        (RunEnd.DISCARDED, Outcome.DISCARDED, Outcome.DISCARDED, Write.FAIL),
    ],
)
def test_the_outcome_follows_from_the_end_and_the_attempts_left(
    end: RunEnd, left: Outcome, last: Outcome, write: Write
) -> None:
    assert ending_of(end, attempts_left=True) == (left, write)
    assert ending_of(end, attempts_left=False)[0] is last


class Unreadable(float):
    def __gt__(self, other: float) -> bool:
        raise SystemExit


def test_what_a_function_returns_may_have_code_of_its_own_that_fails() -> None:
    verdict = judge(ValueError(), Retry(backoff=lambda attempt, error: Unreadable(1)), 1, ask=True)
    assert verdict.delay_ms is None
    assert verdict.fault is not None
    assert "returned a Unreadable; let it return seconds" in verdict.fault


def test_a_time_of_its_own_is_checked_again_where_it_is_read() -> None:
    for after in ("soon", math.nan, math.inf, -1):
        error = RetryIn(1)
        error.after = after  # pyright: ignore[reportAttributeAccessIssue]
        verdict = judge(error, Retry(), 1, ask=True)
        assert verdict.decision is Decision.AS_DECLARED
        assert verdict.fault is not None
        assert "the RetryIn that a handler raised asks for" in verdict.fault
