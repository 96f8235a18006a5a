"""The commands that read: ls, find, show, schedules, workers, doctor, tail. Each has a module of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from oxherd.cli.arguments import Error, ErrorType, Json, Since, Target, Until, Words, named_target, split

app = typer.Typer()


class State(StrEnum):
    """An event's state."""

    WAITING = "waiting"
    DELAYED = "delayed"
    RUNNING = "running"
    WAITING_CHILDREN = "waiting_children"
    COMPLETED = "completed"
    FAILED = "failed"


StateOption = Annotated[State, typer.Option("--state", help="Those in this state.")]


@app.command()
def ls(target: Target = None, json: Json = False) -> None:
    """List the events: what waits, runs and has failed, and who processes them."""
    from oxherd.cli.admin.ls import run

    run(named_target(target), json=json)


@app.command()
def find(
    words: Annotated[Words | None, typer.Argument(metavar="[MODULE:HERD] [EVENT]", show_default=False)] = None,
    state: StateOption = State.FAILED,
    error: Error = None,
    error_type: ErrorType = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=0, metavar="N", help="So many; 0 for all.")] = 100,
    json: Json = False,
) -> None:
    """Find events by state, time and error, those that have ended last first."""
    from oxherd.cli.admin.find import run
    from oxherd.cli.admin.selection import Narrowing

    target, rest = split(words, at_most=1)
    run(target, rest, state.value, Narrowing(error, error_type, since, until), limit, json=json)


@app.command()
def show(
    words: Annotated[Words, typer.Argument(metavar="[MODULE:HERD] UUID", show_default=False)], json: Json = False
) -> None:
    """Show one event's whole story: its attempts, errors and times, and of its payload what the log may show."""
    from oxherd.cli.admin.show import run

    target, (event_id,) = split(words, "UUID")
    run(target, event_id, json=json)


@app.command()
def schedules(
    words: Annotated[Words | None, typer.Argument(metavar="[MODULE:HERD] [EVENT]", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List the schedules with their next and last ticks."""
    from oxherd.cli.admin.schedules import run

    target, rest = split(words, at_most=1)
    run(target, rest[0] if rest else None, json=json)


@app.command()
def workers(target: Target = None, json: Json = False) -> None:
    """List the workers that are alive, with what they process and run."""
    from oxherd.cli.admin.workers import run

    run(named_target(target), json=json)


@app.command()
def doctor(target: Target = None, json: Json = False) -> None:
    """Say what is wrong and what to do; the exit status is 1 if anything is."""
    from oxherd.cli.doctor import run

    raise typer.Exit(run(named_target(target), json=json))


@app.command()
def tail(target: Target = None, json: Json = False) -> None:
    """Print events as they begin and end, until Ctrl-C."""
    from oxherd.cli.admin.tail import run

    run(named_target(target), json=json)
