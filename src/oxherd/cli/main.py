"""The commands and their options; each one's work is in a module of its own."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from oxherd import __version__
from oxherd.errors import OxherdError, UsageError

# The modules of the commands are imported when they run: `oxherd --help` needs none of them.
app = typer.Typer(
    name="oxherd",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Empty, or a name, a number, an option, a path.
_PLAIN = re.compile(r"[-\w.:/]{0,80}")
_LONGEST = 400
_PIECES = re.compile(r"\w{4,}")
_UNEXPECTED = re.compile(r"extra argument|No such option|does not take a value")

Target = Annotated[str, typer.Argument(metavar="MODULE:HERD", help="The herd, such as app:herd.", show_default=False)]
Cluster = Annotated[bool, typer.Option("--cluster", help="Use a real six-node cluster on this machine.")]


class LogFormat(StrEnum):
    """How log records are written."""

    JSON = "json"
    CONSOLE = "console"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oxherd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Event queues for Python on Redis Cluster."""


@app.command()
def demo(cluster: Cluster = False) -> None:
    """Run sample events end to end on the embedded server, then stop."""
    from oxherd.cli.demo import run

    raise typer.Exit(run(cluster=cluster))


@app.command()
def worker(
    target: Target,
    event: Annotated[list[str] | None, typer.Option("--event", help="Only this event; may be repeated.")] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Worker processes.")] = 1,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when a Python file here changes.")] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="For people, or for machines.")
    ] = LogFormat.CONSOLE,
    stop_timeout: Annotated[
        float | None, typer.Option("--stop-timeout", min=0, help="Seconds that running events get at a stop.")
    ] = None,
    health: Annotated[
        str | None,
        typer.Option("--health", metavar="HOST:PORT", help="Answer /live, /ready and /metrics there."),
    ] = None,
) -> None:
    """Process events until SIGTERM or SIGINT; the first drains, the second ends at once."""
    from oxherd.cli.worker import run

    status = run(
        target,
        event,
        processes=processes,
        reload=reload,
        log_format=log_format.value,
        stop_timeout=stop_timeout,
        health=health,
    )
    raise typer.Exit(status)


@app.command()
def emit(
    target: Target,
    event: Annotated[str, typer.Argument(metavar="EVENT", show_default=False)],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="One payload, or - for JSON lines.", show_default=False)
    ],
) -> None:
    """Emit one event and print its UUID; with -, one event a line, all validated before the first is sent."""
    from oxherd.cli.emit import run

    run(target, event, payload)


@app.command()
def check(target: Target) -> None:
    """Validate declarations, stored schedules and the server, without running anything."""
    from oxherd.cli.check import run

    raise typer.Exit(run(target))


@app.command()
def dev(cluster: Cluster = False) -> None:
    """Keep an embedded server (or a cluster) up and print its OXHERD_URL."""
    from oxherd.cli.dev import run

    run(cluster=cluster)


@app.command()
def drill(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="A drill, a family such as worker, or all.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The seed of all random choices.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from --seed on.")] = 1,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="OXHERD_DRILL_URL", help="Your own server, for drills that break only workers."),
    ] = None,
    break_command: Annotated[
        str | None, typer.Option("--break", metavar="COMMAND", help="A drill of your own: breaks the server of --url.")
    ] = None,
    mend_command: Annotated[
        str, typer.Option("--mend", metavar="COMMAND", help="Mends that server.", show_default=False)
    ] = "",
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Seconds from --break to --mend.")] = 10.0,
    logs: Annotated[
        Path | None,
        typer.Option("--logs", metavar="FOLDER", help="Keep the workers' logs in this folder.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a drill.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List the drills and exit.")] = False,
) -> None:
    """Break workers, servers or a cluster under load, and account for every event."""
    from oxherd.cli.drill import FaultCommands, list_drills, run

    if show:
        list_drills()
        return
    commands = None if break_command is None else FaultCommands(break_command, mend_command, seconds)
    raise typer.Exit(run(names or [], seed=seed, seeds=seeds, url=url, commands=commands, logs=logs, json=json))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 failed, 2 wrong usage; errors are one line on standard error."""
    try:
        status = app(arguments, standalone_mode=False)
    except UsageError as error:
        fail(str(error), 2)
    except OxherdError as error:
        fail(str(error), 1)
    except typer.TyperException as error:
        fail(_usage(error, sys.argv[1:] if arguments is None else arguments), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", 130)
    except BrokenPipeError:
        # The reader has gone; what it did not read is not our failure to report.
        sys.stderr.close()
        raise SystemExit(1) from None
    raise SystemExit(status or 0)


def fail(message: str, status: int) -> NoReturn:
    """Say what went wrong, in one line, and exit."""
    sys.stderr.write(f"oxherd: {' '.join(message.split())}\n")
    raise SystemExit(status)


def _usage(error: typer.TyperException, words: list[str]) -> str:
    context: Any = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    if context is not None and context.command.name == "emit" and _UNEXPECTED.search(message):
        # The words that are too many may be parts of a payload: they are not repeated.
        return "Too many words; write the JSON as one, in single quotes (after -- where it begins with a dash)."
    if _repeats(message, words):
        options = getattr(getattr(error, "param", None), "opts", None)
        what = f"The value of {options[0]}" if options else "A word of the command line"
        message = f"{what} does not belong there; it is not repeated, since it may be a payload"
    return message if context is None else f"{message}; see {context.command_path} --help."


def _repeats(message: str, words: list[str]) -> bool:
    """Whether a message shows a part of a word that is no name: where words have changed places it may be a payload."""
    parts = [part for word in words for part in word.split("=", 1) if not _PLAIN.fullmatch(part)]
    pieces = (piece for part in parts for piece in (part, *_PIECES.findall(part)))
    return len(message) > _LONGEST or any(piece in message for piece in pieces)
