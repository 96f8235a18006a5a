"""The commands that steer: retry, discard, promote, cancel, pause, resume, limits, move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from oxherd.cli.arguments import Error, ErrorType, Everything, Json, Since, Until, Words, Yes, split
from oxherd.cli.reading import State, StateOption

if TYPE_CHECKING:
    from oxherd.cli.admin.selection import Narrowing

app = typer.Typer()

Selected = Annotated[Words | None, typer.Argument(metavar="[MODULE:HERD] [EVENT] [UUID]...", show_default=False)]
Key = Annotated[
    str | None, typer.Option("--key", metavar="K", help="Only what has this key, of an event with per_key.")
]
OneEvent = Annotated[Words, typer.Argument(metavar="[MODULE:HERD] EVENT", show_default=False)]


@app.command()
def retry(
    words: Selected = None,
    state: StateOption = State.FAILED,
    error: Error = None,
    error_type: ErrorType = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
) -> None:
    """Put failed events back on their queues, their attempts counted anew. Ctrl-C ends it after a batch."""
    _act("retry", words, state, _narrowing(error, error_type, since, until), everything=everything, yes=yes)


@app.command()
def discard(
    words: Selected = None,
    state: StateOption = State.FAILED,
    error: Error = None,
    error_type: ErrorType = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
) -> None:
    """Remove events for good, those that have failed unless told. Ctrl-C ends it after a batch."""
    _act("discard", words, state, _narrowing(error, error_type, since, until), everything=everything, yes=yes)


@app.command()
def promote(
    words: Selected = None,
    state: StateOption = State.DELAYED,
    error: Error = None,
    error_type: ErrorType = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
) -> None:
    """Make delayed events due now, those that wait for another attempt included."""
    _act("promote", words, state, _narrowing(error, error_type, since, until), everything=everything, yes=yes)


@app.command()
def cancel(
    words: Annotated[Words, typer.Argument(metavar="[MODULE:HERD] UUID...", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, as their handlers are told.")] = "",
) -> None:
    """Cancel events: what waits is removed, and a handler that runs is told within a second."""
    from oxherd.cli.admin.steer import cancel as run

    target, rest = split(words, "UUID", at_most=10_000)
    raise typer.Exit(run(target, rest, reason))


@app.command()
def pause(words: OneEvent, key: Key = None) -> None:
    """Pause an event for all workers, or one key of it: no run of it begins, what runs goes on."""
    from oxherd.cli.admin.steer import pause as run

    target, (event,) = split(words, "EVENT")
    run(target, event, key)


@app.command()
def resume(words: OneEvent, key: Key = None) -> None:
    """Resume an event that is paused, or one key of it."""
    from oxherd.cli.admin.steer import resume as run

    target, (event,) = split(words, "EVENT")
    run(target, event, key)


@app.command()
def limits(
    words: OneEvent,
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="N/SECONDS", help="At most N begun in so many seconds; none ends it."),
    ] = None,
    max_running: Annotated[
        str | None,
        typer.Option("--max-running", metavar="N", help="At most N at once, over all workers; none ends it."),
    ] = None,
    json: Json = False,
) -> None:
    """Print an event's limits over all workers, or set them until its declaration changes."""
    from oxherd.cli.admin.limits import run

    target, (event,) = split(words, "EVENT")
    run(target, event, rate, max_running, json=json)


@app.command()
def move(words: Annotated[Words, typer.Argument(metavar="[MODULE:HERD] QUEUE EVENT", show_default=False)]) -> None:
    """Move what waits under a queue that no event has any more (of a renamed event) to an event."""
    from oxherd.cli.admin.bulk import move as run

    target, (queue, event) = split(words, "QUEUE", "EVENT")
    raise typer.Exit(run(target, queue, event))


def _narrowing(error: str | None, error_type: str | None, since: str | None, until: str | None) -> Narrowing:
    from oxherd.cli.admin.selection import Narrowing

    return Narrowing(error, error_type, since, until)


def _act(action: str, words: Words | None, state: State, narrowing: Narrowing, *, everything: bool, yes: bool) -> None:
    from oxherd.cli.admin.bulk import Request, run

    target, rest = split(words, at_most=10_000)
    raise typer.Exit(run(Request(action, target, rest, state.value, narrowing, everything, yes)))
