"""Actions on an event as a whole: pause, resume, move to it; and its schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxherd.dashboard.actions.action import Acting, Action, Field, Fields, Question
from oxherd.dashboard.operations import Running
from oxherd.errors import UsageError

if TYPE_CHECKING:
    from oxherd.app import Oxherd

_PAUSE = "Nothing of it begins any more, on any worker; what runs goes on, and what is emitted waits."
_RESUME = "What waits begins."
_RUN = "Its payload is emitted now, beside its ticks."
_PAUSE_SCHEDULE = "It makes no tick until it is resumed."
_RESUME_SCHEDULE = "Its next tick is the first one after now."


def _event(herd: Oxherd, fields: Fields) -> str:
    return herd[fields.get("event", "")].name


def _schedule(fields: Fields) -> str:
    name = fields.get("schedule", "")
    if not name:
        raise UsageError("Name a schedule.")
    return name


def event_action(name: str) -> Action:
    """`pause` or `resume`."""
    label, text = ("Pause", _PAUSE) if name == "pause" else ("Resume", _RESUME)

    async def ask(herd: Oxherd, fields: Fields) -> Question:
        event = _event(herd, fields)
        return Question(f"{label} {event}?", text, label, f"/events/{event}", hidden={"event": event})

    async def act(acting: Acting, fields: Fields) -> str:
        event = _event(acting.herd, fields)
        await (acting.herd.admin.pause(event) if name == "pause" else acting.herd.admin.resume(event))
        await acting.record(name, event)
        return f"/events/{event}?done={name}"

    return Action(ask, act)


def schedule_action(name: str) -> Action:
    """`run`, `pause-schedule` or `resume-schedule`."""
    label, text = {
        "run": ("Run now", _RUN),
        "pause-schedule": ("Pause", _PAUSE_SCHEDULE),
        "resume-schedule": ("Resume", _RESUME_SCHEDULE),
    }[name]

    async def ask(herd: Oxherd, fields: Fields) -> Question:
        event, schedule = _event(herd, fields), _schedule(fields)
        hidden = {"event": event, "schedule": schedule}
        title = f"{label}: the schedule {schedule} of {event}?"
        return Question(title, text, label, "/schedules", hidden=hidden)

    async def act(acting: Acting, fields: Fields) -> str:
        event, schedule, admin = _event(acting.herd, fields), _schedule(fields), acting.herd.admin
        if name == "run":
            await admin.run_schedule(event, schedule)
        elif name == "pause-schedule":
            await admin.pause_schedule(event, schedule)
        else:
            await admin.resume_schedule(event, schedule)
        await acting.record(name, event, f"the schedule {schedule}")
        return f"/schedules?done={name}"

    return Action(ask, act)


async def _ask_move(herd: Oxherd, fields: Fields) -> Question:
    queue = fields.get("queue", "")
    names = tuple((event.name, event.name) for event in herd)
    text = "What waits or is delayed there goes to the queue of an event, under that event's name."
    chosen = Field("event", "To the event", choices=names)
    return Question(f"Move what waits in {queue}", text, "Move", "/", hidden={"queue": queue}, fields=(chosen,))


async def _act_move(acting: Acting, fields: Fields) -> str:
    event, queue = _event(acting.herd, fields), fields.get("queue", "")
    move = acting.herd.admin.move(queue, event)
    running = Running(
        f"Move {queue} to {event}", f"/events/{event}", move, acting.audited("move", event, f"from {queue}")
    )
    await acting.operations.begin(running)
    return f"/operations/{running.id}"


move_action = Action(_ask_move, _act_move)
