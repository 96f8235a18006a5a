"""The OPTIONS of the backend: how the events of its queues are declared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, cast

from oxherd.django.tasks.interface import InvalidTaskBackend
from oxherd.errors import did_you_mean
from oxherd.policy import Keep, Retry

# Options of a declaration. Of the others, `queue` would be shared by events, `once` and `unique` make no second event
# of an enqueue, `ordered` knows no priorities, and `sanitize` is the backend's.
DECLARED: Final = frozenset({
    "CONCURRENCY", "DURABLE", "EXPIRES", "KEEP", "LOCK", "MAX_PAYLOAD", "MAX_RUNNING", "MAX_STALLS", "PER_KEY", "RATE",
    "RETRY", "SEAL", "SHARDS", "TIMEOUT",
})  # fmt: skip
PREFIX, BY_QUEUE = "PREFIX", "BY_QUEUE"
_DEFAULTS: Final = {"retry": Retry(attempts=1), "keep": Keep(completed=None, completed_for=timedelta(days=1))}


def event_name(alias: str, options: Mapping[str, Any], queue: str) -> str:
    """The name of a queue's event: `django.tasks.<queue>`, of another backend than the default one with its alias."""
    prefix = options.get(PREFIX, "django.tasks" if alias == "default" else f"django.tasks.{alias}")
    return f"{prefix}.{queue}"


def event_options(alias: str, options: Mapping[str, Any], queues: set[str], queue: str) -> dict[str, Any]:
    """What a queue's event is declared with.

    Raises:
        InvalidTaskBackend: an option is unknown, or BY_QUEUE is not by queue.
    """
    by_queue = _dictionary(options.get(BY_QUEUE, {}))
    if by_queue is None:
        raise _invalid(alias, "BY_QUEUE must be a dictionary, by the names of queues, of dictionaries of options.")
    for name, given in by_queue.items():
        if name not in queues:
            hint = did_you_mean(str(name), queues, f"QUEUES has {', '.join(sorted(queues)) or 'none'}.")
            raise _invalid(alias, f"BY_QUEUE names a queue {name!r} that QUEUES does not have; {hint}")
        if _dictionary(given) is None:
            raise _invalid(alias, f"BY_QUEUE[{name!r}] must be a dictionary of options, such as {{'CONCURRENCY': 2}}.")
    own = _dictionary(by_queue.get(queue)) or {}
    _check(alias, options, DECLARED | {PREFIX, BY_QUEUE})
    _check(alias, own, DECLARED)
    return _DEFAULTS | {name.lower(): value for name, value in {**options, **own}.items() if name in DECLARED}


def _dictionary(given: object) -> Mapping[Any, Any] | None:
    return cast("Mapping[Any, Any]", given) if isinstance(given, Mapping) else None


def _check(alias: str, given: Mapping[Any, Any], known: frozenset[str]) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name), known, f"the options are {', '.join(sorted(known))}.")
            raise _invalid(alias, f"OPTIONS has no {name!r}; {hint}")


def _invalid(alias: str, why: str) -> InvalidTaskBackend:
    return InvalidTaskBackend(f"TASKS[{alias!r}]: {why}")
