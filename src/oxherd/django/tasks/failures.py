"""What is stored of a failed attempt beside the event's own error: Django's class path and traceback.

It is the progress of the task's event, which no task can use itself: JSON that any program may have written.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from traceback import format_exception
from typing import Any, Final, cast

import oxherd
from oxherd.answers.status import Status
from oxherd.context import Context
from oxherd.django.tasks.interface import TaskError
from oxherd.privacy.budget import Budget
from oxherd.privacy.error_text import format_redacted

# Each progress goes through the queue's event stream as well, which keeps 10,000 entries.
_LONGEST: Final = 3_000
_LONGEST_TOGETHER: Final = 10_000
_LONGEST_PATH: Final = 300
_FIELD: Final = "errors"


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed; `fence` is its event's then."""

    fence: int
    path: str
    traceback: str

    @property
    def error(self) -> TaskError:
        """As Django has it."""
        return TaskError(exception_class_path=self.path, traceback=self.traceback)


def describe(error: BaseException, ctx: Context) -> FailedAttempt:
    """Describe what a task raised: its messages without what the event's log withholds, source lines, no values."""
    if ctx.redactor is None:
        text = "".join(format_exception(error)).rstrip("\n")
    else:
        text = format_redacted(error, ctx.redactor, Budget())
    kind = type(error)
    path = f"{kind.__module__}.{kind.__qualname__}"
    if len(text) > _LONGEST:
        text = text[-_LONGEST:].partition("\n")[2] or text[-_LONGEST:]
    # A lone surrogate could not be sent to Redis.
    text = text.encode("utf-8", "backslashreplace").decode()
    return FailedAttempt(ctx.fence, path[:_LONGEST_PATH], f"{text}\n")


def to_progress(failed: Sequence[FailedAttempt]) -> dict[str, Any]:
    """The attempts as progress; the oldest are left out where all would take too much."""
    kept = list(failed)
    while len(kept) > 1 and sum(len(each.traceback) for each in kept) > _LONGEST_TOGETHER:
        del kept[0]
    return {_FIELD: [asdict(each) for each in kept]}


def from_progress(progress: Any) -> list[FailedAttempt]:
    """The attempts that a progress has; what we have not written is left out."""
    found: Any = cast("dict[str, Any]", progress).get(_FIELD) if isinstance(progress, dict) else None
    each = cast("list[Any]", found) if isinstance(found, list) else []
    return [FailedAttempt(**one) for one in each if _is_ours(one)]


def _is_ours(one: Any) -> bool:
    if not isinstance(one, dict) or set(cast("dict[Any, Any]", one)) != {"fence", "path", "traceback"}:
        return False
    fields = cast("dict[str, Any]", one)
    return type(fields["fence"]) is int and type(fields["path"]) is str and type(fields["traceback"]) is str


def errors_of(status: Status) -> list[TaskError]:
    """The errors of a stored task, oldest first; of one that its function did not raise, what the event says."""
    failed = from_progress(status.progress)
    errors = [each.error for each in failed]
    if status.state == "failed" and not any(each.fence == status.fence for each in failed):
        kind, message = ("", "") if status.error is None else (status.error.type, status.error.message)
        line = f"{kind}: {message}" if kind and message else kind or message
        errors.append(TaskError(exception_class_path=_class_path(kind, status.outcome), traceback=f"{line}\n"))
    return errors


def _class_path(kind: str, outcome: str | None) -> str:
    """Where the class of an event's error is; one of ours where that is not known."""
    if outcome == "cancelled":
        return "oxherd.EventCancelled"
    if outcome == "timed_out":
        return "builtins.TimeoutError"
    for module in (builtins, oxherd):
        found: Any = getattr(module, kind, None) if kind.isidentifier() else None
        if isinstance(found, type) and issubclass(found, BaseException):
            return f"{module.__name__}.{kind}"
    return "oxherd.EventFailed"
