"""Which events a call is about: by event, state, time, error and id. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypedDict, get_args
from uuid import UUID

from oxherd.errors import UsageError

SearchState = Literal["waiting", "delayed", "running", "waiting_children", "completed", "failed"]
# A datetime with a time zone; a timedelta or seconds: so long ago.
Moment = datetime | timedelta | float

_LONGEST_TEXT = 1_000


class SelectionOptions(TypedDict, total=False):
    """What narrows a selection, beside the event and the state.

    Attributes:
        error: a text that the error's type and message (`ValueError: no stock`) hold, in either case of letters.
        error_type: the exact name of the error's class.
        since: those that ended since then (failed, completed), else that were emitted since then: an aware datetime, or
            a timedelta or seconds before now.
        until: the same, before then.
    """

    error: str | None
    error_type: str | None
    since: Moment | None
    until: Moment | None


@dataclass(frozen=True, slots=True)
class Selection:
    """A checked selection; times are in milliseconds since the Unix epoch. `ids` stand for themselves."""

    event: str | None
    state: SearchState
    error: str
    error_type: str
    since_ms: int | None
    until_ms: int | None
    ids: tuple[UUID, ...] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it selects everything in its state."""
        filters = (self.event, self.error, self.error_type, self.since_ms, self.until_ms, self.ids)
        return not any(each is not None and each != "" for each in filters)

    @property
    def is_searched(self) -> bool:
        """Whether an event's fields decide, so that nobody can say how many there are without reading them."""
        return bool(self.error or self.error_type)


def selected(
    event: str | None,
    state: str,
    ids: Iterable[UUID | str] | None,
    now: datetime,
    *,
    error: str | None = None,
    error_type: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Selection:
    """Check what narrows a selection.

    Raises:
        UsageError: a value is invalid, or ids are given beside a filter.
    """
    if state not in get_args(SearchState):
        raise UsageError(f"state is one of {', '.join(get_args(SearchState))}.")
    chosen = Selection(
        event,
        state,  # pyright: ignore[reportArgumentType] - one of them
        _text(error, "error"),
        _text(error_type, "error_type"),
        _moment(since, "since", now),
        _moment(until, "until", now),
        None if ids is None else tuple(dict.fromkeys(map(event_uuid, ids))),
    )
    if chosen.ids is not None and (error or error_type or since is not None or until is not None):
        raise UsageError("Pass ids, or what to look for (error, error_type, since, until); not both.")
    return chosen


def event_uuid(given: UUID | str) -> UUID:
    """An event's id; raises UsageError for what is no UUID."""
    if isinstance(given, UUID):
        return given
    try:
        return UUID(given)
    except (ValueError, AttributeError, TypeError):
        raise UsageError("An event's id is a UUID, as emit() returns it and the log has it.") from None


def _text(given: str | None, name: str) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or not given or len(given) > _LONGEST_TEXT:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{name} is a text of 1 to {_LONGEST_TEXT} characters.")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} has half of a surrogate pair; pass whole text.") from None
    return given


def _moment(given: Moment | None, name: str, now: datetime) -> int | None:
    if given is None:
        return None
    try:
        if isinstance(given, datetime):
            if given.tzinfo is None:
                raise UsageError(
                    f"{name} needs a time zone, such as datetime.now(UTC); or say how long ago, in seconds."
                )
            moment = given.astimezone(UTC)
        else:
            moment = now - (given if isinstance(given, timedelta) else timedelta(seconds=float(given)))
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, TypeError, OverflowError):
        raise UsageError(f"{name} is an aware datetime, or how long ago: a timedelta, or seconds.") from None
