"""`oxherd show`: one event's whole story, as far as it is stored."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterable, Iterator, Sequence

from oxherd.admin import AttemptInfo, Effects, Story
from oxherd.app import Oxherd
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_styled
from oxherd.cli.shown.json_lines import write_json
from oxherd.cli.shown.screen import Screen, Style, folded, screen_of
from oxherd.cli.shown.table import Cell, Column, Row, Table
from oxherd.errors import OxherdError
from oxherd.payload.failure import EventError
from oxherd.wording import ago, clock, duration

_NAME_WIDTH = 11
_COLUMNS = (
    Column("attempt", right=True),
    Column("began"),
    Column("took", right=True, rank=1),
    Column("outcome"),
    Column("worker", below=True),
    Column("error", below=True),
)

# Its name, its text, and how that is shown.
Part = tuple[str, str, Style]


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
    _write(screen, _parts(story))
    for line in _attempts(screen, story.attempts):
        write_styled(line)
    _write(screen, (*_traces(story), *_notes(story), *_caused(effects), *_not_known(story, effects)))


def _write(screen: Screen, parts: Iterable[Part]) -> None:
    for name, text, style in parts:
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


def _parts(story: Story) -> Iterator[Part]:
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


def _attempts(screen: Screen, attempts: Sequence[AttemptInfo]) -> Iterator[str]:
    """A table of the runs, where there are any."""
    return Table(screen, _COLUMNS).lines([_attempt(attempt) for attempt in attempts]) if attempts else iter(())


def _attempt(attempt: AttemptInfo) -> Row:
    return (
        "" if attempt.number is None else f"{attempt.number:,}",
        clock(attempt.began_at),
        duration(attempt.seconds),
        (attempt.outcome or "").replace("_", " "),
        attempt.worker or "",
        "" if attempt.error is None else Cell(_error(attempt.error), Style.WRONG),
    )


def _traces(story: Story) -> Iterator[Part]:
    """The frames of the errors."""
    for attempt in story.attempts:
        for number, frame in enumerate(attempt.stack):
            yield "" if number else f"trace {attempt.number or ''}".strip(), frame, Style.DIM


def _notes(story: Story) -> Iterator[Part]:
    for note in story.notes:
        yield "note", note, Style.PLAIN


def _caused(effects: Effects) -> Iterator[Part]:
    for found in effects.events:
        state = found.state.replace("_", " ")
        yield "caused", f"{found.id} {found.event or f'(unknown, in {found.queue})'} {state}", Style.PLAIN


def _not_known(story: Story, effects: Effects) -> Iterator[Part]:
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


def _error(error: EventError) -> str:
    return f"{error.type}: {error.message}".strip(": ") or "an error without a message"


def _compact(payload: object) -> str:
    return json_module.dumps(payload, ensure_ascii=False, default=str)
