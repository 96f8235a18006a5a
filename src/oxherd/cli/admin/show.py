"""`oxherd show`: one event's whole story, as far as it is stored."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator

from oxherd.admin import AttemptInfo, Effects, Story
from oxherd.app import Oxherd
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Screen, Style, folded, screen_of
from oxherd.errors import OxherdError
from oxherd.payload.failure import EventError
from oxherd.wording import ago, clock, duration

_NAME_WIDTH = 11


def run(target: str, event_id: str, *, json: bool) -> None:
    """Print the story.

    Raises:
        OxherdError: nothing is stored of the event.
    """

    async def read(herd: Oxherd) -> tuple[Story | None, Effects]:
        story = await herd.admin.show(event_id)
        return story, Effects((), searched_all=True) if story is None else await herd.admin.effects(event_id)

    story, effects = with_herd(target, read)
    if story is None:
        raise OxherdError(
            "Nothing is stored of this event: it has completed, was removed, or belongs to another herd or server; "
            "its log lines have the id as event_id."
        )
    if json:
        write_json(story, caused=effects.events)
        return
    screen = screen_of()
    for name, text, style in (*_parts(story), *_caused(effects), *_not_known(story, effects)):
        for line in _lines(screen, name, text, style):
            write_styled(line)


def _lines(screen: Screen, name: str, text: str, style: Style) -> Iterator[str]:
    """A part's lines: its name, then its text, which goes on below itself, or below the name where that is narrow."""
    indent = " " * (_NAME_WIDTH if screen.width is None or screen.width >= 60 else 2)
    for number, line in enumerate(folded(text, screen.width, name.ljust(_NAME_WIDTH), indent)):
        if number:
            yield screen.styled(line, style)
        else:
            yield screen.styled(line[:_NAME_WIDTH], Style.DIM) + screen.styled(line[_NAME_WIDTH:], style)


def _parts(story: Story) -> Iterator[tuple[str, str, Style]]:
    plain = Style.PLAIN
    yield "id", str(story.id), plain
    yield "event", story.event or "(unknown here)", Style.BOLD
    yield "queue", story.queue, plain
    yield "state", _state(story), Style.WRONG if story.state == "failed" else Style.BOLD
    if story.error is not None:
        yield "error", _error(story.error), Style.WRONG
    for name, moment in (
        ("emitted", story.emitted_at),
        ("due", story.due_at),
        ("expires", story.expires_at),
        ("began", story.began_at),
        ("ended", story.ended_at),
    ):
        if moment is not None:
            yield name, f"{clock(moment)} ({ago(moment)})", plain
    for name, value in (
        ("schedule", story.schedule),
        ("caused by", story.caused_by),
        ("root", story.root if story.root != story.id else None),
        ("worker", story.worker),
        ("progress", story.progress),
        ("cancel", story.cancel_reason),
        ("priority", story.priority or None),
    ):
        if value is not None:
            yield name, str(value), plain
    shown = f"({story.payload_note})" if story.payload_note else _compact(story.payload)
    yield "payload", f"{shown}  [{story.payload_bytes:,} bytes]", plain
    for attempt in story.attempts:
        yield from _attempt(attempt)
    for note in story.notes:
        yield "note", note, plain


def _caused(effects: Effects) -> Iterator[tuple[str, str, Style]]:
    for found in effects.events:
        state = found.state.replace("_", " ")
        yield "caused", f"{found.id} {found.event or f'(unknown, in {found.queue})'} {state}", Style.PLAIN


def _not_known(story: Story, effects: Effects) -> Iterator[tuple[str, str, Style]]:
    for sentence in story.not_known:
        # That one is looked for here.
        if "effects()" not in sentence:
            yield "not known", sentence, Style.DIM
    if not effects.searched_all:
        yield "not known", "What it caused in turn, beyond the newest thousand of each state.", Style.DIM


def _state(story: Story) -> str:
    words = [story.state.replace("_", " ")]
    if story.outcome and story.outcome != story.state:
        words.append(f"({story.outcome})")
    if story.held:
        words.append("- held back by its key")
    if story.paused:
        words.append("on a paused queue")
    words.append(f"- attempt {story.attempt} of {story.attempts_allowed}, begun {_times(story.fence)}")
    if story.stalls:
        words.append(f"- its worker was lost {_times(story.stalls)}")
    return " ".join(words)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _attempt(attempt: AttemptInfo) -> Iterator[tuple[str, str, Style]]:
    parts = [
        "" if attempt.began_at is None else f"began {clock(attempt.began_at)}",
        "" if attempt.seconds is None else f"took {duration(attempt.seconds)}",
        "" if attempt.worker is None else f"on {attempt.worker}",
        "" if attempt.error is None else _error(attempt.error),
    ]
    number = "attempt" if attempt.number is None else f"attempt {attempt.number}"
    style = Style.PLAIN if attempt.error is None else Style.WRONG
    yield number, ", ".join(part for part in parts if part) or "nothing is stored of it", style
    for frame in attempt.stack:
        yield "", frame, Style.DIM


def _error(error: EventError) -> str:
    return f"{error.type}: {error.message}".strip(": ") or "an error without a message"


def _compact(payload: object) -> str:
    return json_module.dumps(payload, ensure_ascii=False, default=str)
