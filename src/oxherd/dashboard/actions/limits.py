"""The action that sets an event's limits, and those of each of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxherd.dashboard.actions.action import Acting, Action, Field, Fields, Question
from oxherd.declaration import Declaration
from oxherd.errors import UsageError
from oxherd.event_limits import NewLimits
from oxherd.limits import PerKey, Rate

if TYPE_CHECKING:
    from oxherd.app import Oxherd

_TEXT = "Over all workers, from now on, until the declaration changes. Empty: no limit."
_HINT = "a number, or empty"
_OF_KEYS = "key_"


async def _ask(herd: Oxherd, fields: Fields) -> Question:
    event = herd[fields.get("event", "")]
    limits = await event.limits()
    inputs: list[Field] = []
    if _has_its_own(event.declaration):
        inputs += _inputs(limits.rate, limits.max_running)
    if event.declaration.limits.per_key is not None:
        each = limits.per_key or PerKey()
        inputs += _inputs(each.rate, each.max_running, _OF_KEYS, "Of each key: ")
    if not inputs:
        raise UsageError(f"{event.name} has shards or shares its queue, and no per_key=: nothing limits it by itself.")
    hidden = {"event": event.name}
    title = f"Limits of {event.name}"
    return Question(title, _TEXT, "Set limits", f"/events/{event.name}", hidden=hidden, fields=tuple(inputs))


async def _act(acting: Acting, fields: Fields) -> str:
    event = acting.herd[fields.get("event", "")]
    changed, said = NewLimits(), list[str]()
    if _has_its_own(event.declaration):
        rate, most = _given(fields)
        changed["rate"], changed["max_running"] = rate, most
        said.append(_in_words(rate, most))
    if event.declaration.limits.per_key is not None:
        rate, most = _given(fields, _OF_KEYS)
        changed["per_key"] = PerKey(most, rate)
        said.append(f"of each key {_in_words(rate, most)}")
    await event.set_limits(**changed)
    await acting.record("limits", event.name, "; ".join(said))
    return f"/events/{event.name}?done=limits"


def _has_its_own(declaration: Declaration) -> bool:
    """Whether its queue is its own alone, so that the queue's limits are the event's."""
    return declaration.shards == 1 and declaration.own_queue


def _inputs(rate: Rate | None, most: int | None, prefix: str = "", label: str = "") -> list[Field]:
    count, seconds = ("", "") if rate is None else (str(rate.count), f"{rate.per_ms / 1000:g}")
    return [
        Field(f"{prefix}count", f"{label}begun at most".capitalize(), count, _HINT),
        Field(f"{prefix}seconds", "in so many seconds", seconds, "such as 60"),
        Field(f"{prefix}max_running", f"{label}running at most at once".capitalize(), str(most or ""), _HINT),
    ]


def _given(fields: Fields, prefix: str = "") -> tuple[Rate | None, int | None]:
    count, seconds, most = (fields.get(f"{prefix}{name}", "").strip() for name in ("count", "seconds", "max_running"))
    if bool(count) != bool(seconds):
        raise UsageError("A rate has both a number of events and a number of seconds; leave both empty for none.")
    rate = Rate(_number(count), per=_seconds(seconds)) if count else None
    return rate, _number(most) if most else None


def _in_words(rate: Rate | None, most: int | None) -> str:
    said = "no rate" if rate is None else f"rate {rate.count}/{rate.per_ms / 1000:g}"
    return f"{said}, " + ("no max running" if most is None else f"max running {most}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError("A limit is a whole number from 1 on.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("The seconds of a rate are a number, such as 60.") from None


limits_action = Action(_ask, _act)
