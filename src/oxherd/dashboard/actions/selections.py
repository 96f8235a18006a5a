"""Actions on a selection of events: retry, discard, cancel, promote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from oxherd.admin import Bulk, SearchState
from oxherd.dashboard.actions.action import Acting, Action, Field, Fields, Question
from oxherd.dashboard.filters import Filter
from oxherd.dashboard.operations import Running
from oxherd.errors import UsageError

if TYPE_CHECKING:
    from oxherd.app import Oxherd

_FIELDS = ("id", "event", "state", "error", "error_type", "since", "until")
# Of a search, so many are counted before the question.
_MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Verb:
    """One of these actions: what it says, and the states that it may be for, the usual one first."""

    name: str
    label: str
    what: str
    states: tuple[SearchState, ...]
    is_danger: bool = False


VERBS = {
    verb.name: verb
    for verb in (
        Verb("retry", "Retry", "They begin again, their attempts counted anew.", ("failed",)),
        Verb("promote", "Begin now", "They are due now, instead of at their time.", ("delayed",)),
        Verb(
            "discard",
            "Discard",
            "They are removed, for good.",
            ("failed", "completed", "waiting", "delayed"),
            is_danger=True,
        ),
        Verb(
            "cancel",
            "Cancel",
            "What waits is removed; what runs is told to end, and is not tried again.",
            ("waiting", "delayed", "running"),
            is_danger=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class _Selected:
    """What an action is about: one event by its id, or a filter over one event's, or over all."""

    id: UUID | None
    event: str | None
    filter: Filter

    @property
    def is_open(self) -> bool:
        """Whether it is everything in its state."""
        return self.id is None and self.event is None and not self.filter.is_narrowed

    @property
    def in_words(self) -> str:
        """For the audit log, without a text that was searched for."""
        if self.id is not None:
            return str(self.id)
        chosen = self.filter
        words = [chosen.state.replace("_", " ")]
        words += [f"error type {chosen.error_type}"] if chosen.error_type else []
        words += ["an error text"] if chosen.error else []
        words += [f"{name} {text}" for name in ("since", "until") if (text := getattr(chosen, name))]
        return ", ".join(words)

    def back(self) -> str:
        """The address of the page that shows them."""
        if self.id is not None:
            return f"/stories/{self.id}"
        query = urlencode({name: value for name, value in self.filter.query().items() if value})
        return f"/events/{self.event}?{query}" if self.event else f"/failed?{query}"


def selection_action(verb: Verb) -> Action:
    """The action of a verb."""
    return Action(partial(_ask, verb), partial(_act, verb))


async def _ask(verb: Verb, herd: Oxherd, fields: Fields) -> Question:
    selected = _selected(verb, herd, fields)
    title = f"{verb.label} {await _how_many(verb, herd, selected)}?"
    reason = (Field("reason", "Reason, which its handler and whoever waits for it are told", hint="optional"),)
    return Question(
        title,
        verb.what,
        verb.label,
        selected.back(),
        verb.is_danger,
        {name: value for name, value in fields.items() if name in _FIELDS}
        | ({"all": "yes"} if selected.is_open else {}),
        reason if verb.name == "cancel" else (),
    )


async def _act(verb: Verb, acting: Acting, fields: Fields) -> str:
    # A name that is mistyped would leave its filter out.
    if unknown := set(fields) - {*_FIELDS, "reason", "all"}:
        raise UsageError(f"{len(unknown)} of the fields are unknown; there are {', '.join(_FIELDS)}, reason and all.")
    selected = _selected(verb, acting.herd, fields)
    if selected.is_open and fields.get("all") != "yes":
        raise UsageError(f"{verb.label} needs a selection: an event, an id or a filter; or all=yes.")
    bulk = _bulk(verb, acting.herd, selected, fields.get("reason", ""))
    what = "1 event" if selected.id else f"{selected.filter.state.replace('_', ' ')} events"
    of = f" of {selected.event}" if selected.event else ""
    running = Running(
        f"{verb.label} {what}{of}",
        selected.back(),
        bulk,
        acting.audited(verb.name, selected.event or "", selected.in_words),
    )
    await acting.operations.begin(running)
    return f"/operations/{running.id}"


def _selected(verb: Verb, herd: Oxherd, fields: Fields) -> _Selected:
    given, event = fields.get("id") or None, fields.get("event") or None
    chosen = Filter.of(fields, verb.states[0])
    if given is None and chosen.state not in verb.states:
        raise UsageError(f"{verb.label} is for what is {' or '.join(verb.states)}.")
    chosen.options()
    try:
        return _Selected(UUID(given) if given else None, herd[event].name if event else None, chosen)
    except ValueError:
        raise UsageError("An event's id is a UUID, as emit() returns it and the log has it.") from None


def _bulk(verb: Verb, herd: Oxherd, selected: _Selected, reason: str) -> Bulk:
    options: dict[str, Any] = {"everything": True, **selected.filter.options()}
    if selected.id is not None:
        options = {"ids": [selected.id]}
    if verb.name in ("discard", "cancel"):
        options["state"] = selected.filter.state
    if verb.name == "cancel":
        options["reason"] = reason
    method: Callable[..., Bulk] = getattr(herd.admin, verb.name)
    return method(selected.event, **options)


async def _how_many(verb: Verb, herd: Oxherd, selected: _Selected) -> str:
    if selected.id is not None:
        return f"event …{str(selected.id)[-12:]}"
    count, least = await _bulk(verb, herd, selected, "").count(), ""
    if count is None:
        options = selected.filter.options()
        found = await herd.admin.find(selected.event, state=selected.filter.state, limit=_MOST_COUNTED, **options).all()
        count, least = len(found), "at least " if len(found) == _MOST_COUNTED else ""
    noun = "event" if count == 1 else "events"
    of = f" of {selected.event}" if selected.event else " of all events" if count != 1 else ""
    state = selected.filter.state.replace("_", " ")
    return f"{least}{count:,} {state} {noun}{of}".replace("events of all events", "events, of all kinds")
