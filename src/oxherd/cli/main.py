"""The commands and their options; each command has a module of its own."""

from __future__ import annotations

import logging
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from oxherd import __version__
from oxherd.cli import reading, steering
from oxherd.cli.arguments import TARGET_HELP, Target, named_target
from oxherd.cli.output import discard, output_works, prepare_streams, write_error
from oxherd.errors import OxherdError, UsageError

# A command's module is imported when it runs, which keeps `oxherd --help` fast.
app = typer.Typer(
    name="oxherd",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# An argument that cannot be a payload: empty, or a name, a number, an option, a path.
_PLAIN = re.compile(r"[-\w.:/]{0,80}")
_LONGEST_MESSAGE = 400
_WORDS = re.compile(r"\w{4,}")
_TOO_MANY = re.compile(r"extra argument|No such option|does not take a value")

Cluster = Annotated[bool, typer.Option("--cluster", help="Use a real six-node cluster on this machine.")]


class LogFormat(StrEnum):
    """The format of log records."""

    JSON = "json"
    CONSOLE = "console"
    APPLICATION = "application"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oxherd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Event queues for Python on Redis Cluster."""
    del version
    if context.invoked_subcommand != "worker":
        # Their errors are the command's own.
        logging.getLogger("oxherd").addHandler(logging.NullHandler())


@app.command()
def demo(cluster: Cluster = False) -> None:
    """Run sample events end to end on the embedded server, or on a cluster, then stop."""
    from oxherd.cli.demo import run

    raise typer.Exit(run(cluster=cluster))


@app.command()
def worker(
    target: Target = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Process only this event; may be repeated.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Worker processes.")] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a Python file below this folder changes.")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="console for people, json for machines; application: as it logs.")
    ] = LogFormat.CONSOLE,
    stop_timeout: Annotated[
        float | None, typer.Option("--stop-timeout", min=0, help="Seconds for running events to end at a stop.")
    ] = None,
    health: Annotated[
        str | None,
        typer.Option("--health", metavar="HOST:PORT", help="Serve /live, /ready and /metrics there."),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(
            "--max-events",
            min=1,
            help="Replace a process after so many events, or up to a tenth more; a supervisor runs it, even if it is "
            "the only one.",
        ),
    ] = None,
) -> None:
    """Process events until SIGTERM or SIGINT: the first drains, the second stops at once."""
    from oxherd.cli.worker import run

    status = run(
        named_target(target),
        event,
        processes=processes,
        reload=reload,
        log_format=log_format.value,
        stop_timeout=stop_timeout,
        health=health,
        max_events=max_events,
    )
    raise typer.Exit(status)


@app.command()
def emit(
    first: Annotated[str, typer.Argument(metavar="[MODULE:HERD]", help=TARGET_HELP, show_default=False)],
    second: Annotated[str, typer.Argument(metavar="EVENT", show_default=False)],
    third: Annotated[
        str | None, typer.Argument(metavar="JSON", help="One payload, or - for JSON lines.", show_default=False)
    ] = None,
) -> None:
    """Emit one event and print its UUID; with -, one event a line, after all lines are validated."""
    from oxherd.cli.emit import run

    if third is not None:
        run(first, second, third)
    elif ":" in first:
        raise UsageError("emit takes MODULE:HERD, EVENT and JSON; see oxherd emit --help.")
    else:
        run(named_target(None), first, second)


@app.command()
def check(target: Target = None) -> None:
    """Validate declarations, the server and stored schedules, without running anything."""
    from oxherd.cli.check import run

    raise typer.Exit(run(named_target(target)))


@app.command("types")
def typescript(
    target: Target = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write events.d.ts and events.json there.", show_default=False),
    ] = None,
) -> None:
    """Print TypeScript declarations of the events, or write them, with JSON Schemas, into a folder."""
    from oxherd.cli.typescript import run

    run(named_target(target), out)


@app.command()
def dev(cluster: Cluster = False) -> None:
    """Run the embedded server, or a cluster, until Ctrl-C, and print its OXHERD_URL."""
    from oxherd.cli.dev import run

    run(cluster=cluster)


@app.command()
def dashboard(
    target: Target = None,
    bind: Annotated[str, typer.Option("--bind", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8765",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Lines of TOKEN, or NAME ROLE TOKEN (viewer or operator), to sign in with.",
            show_default=False,
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="HOST", help="Another name that browsers have for it; may be repeated."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Everybody only looks.")] = False,
) -> None:
    """Serve the pages that show and steer the events, until Ctrl-C."""
    from oxherd.cli.dashboard import run

    run(named_target(target), bind, token_file, allowed_host or [], read_only=read_only)


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


app.add_typer(reading.app)
app.add_typer(steering.app)


def main(arguments: list[str] | None = None, name: str | None = None) -> NoReturn:
    """Run a command and exit with 0 (done), 1 (failed) or 2 (wrong usage); an error is one line on standard error.

    `name` is what the user has typed for `oxherd`, if that is something else.
    """
    prepare_streams()
    try:
        status = app(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        fail(error, 2)
    except OxherdError as error:
        fail(error, 1)
    except typer.TyperException as error:
        fail(_usage_message(error, sys.argv[1:] if arguments is None else arguments), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", 130)
    except BrokenPipeError:
        discard(sys.stdout)  # its reader has what it wanted
        raise SystemExit(1) from None
    except OSError as error:
        if output_works():
            raise
        fail(f"Standard output cannot be written ({error.strerror}).", 1)
    raise SystemExit(status or 0)


def fail(error: OxherdError | str, status: int) -> NoReturn:
    """Print an error in one line and exit."""
    message = " ".join([str(error), *getattr(error, "__notes__", [])])
    write_error(f"oxherd: {' '.join(message.split())}")
    if not output_works():
        discard(sys.stdout)
    raise SystemExit(status)


def _usage_message(error: typer.TyperException, arguments: list[str]) -> str:
    context: Any = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    if context is not None and context.command.name == "emit" and _TOO_MANY.search(message):
        # Not quoted: the extra arguments may be parts of a payload.
        return "Too many arguments; put the JSON in single quotes (and after -- if it begins with a dash)."
    if _may_quote_payload(message, arguments):
        options = getattr(getattr(error, "param", None), "opts", None)
        what = f"The value of {options[0]}" if options else "An argument"
        message = f"{what} is not valid there; it is not shown, since it may be a payload"
    return message if context is None else f"{message}; see {context.command_path} --help."


def _may_quote_payload(message: str, arguments: list[str]) -> bool:
    """Whether a message quotes part of an argument that may be a payload in the wrong position."""
    parts = [part for argument in arguments for part in argument.split("=", 1) if not _PLAIN.fullmatch(part)]
    quoted = any(word in message for part in parts for word in (part, *_WORDS.findall(part)))
    return quoted or len(message) > _LONGEST_MESSAGE
