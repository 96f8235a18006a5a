"""The arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from oxherd.errors import UsageError

TARGET_HELP = "The herd, such as app:herd; may be left out where OXHERD_APP or pyproject.toml names it."

Target = Annotated[str | None, typer.Argument(metavar="[MODULE:HERD]", help=TARGET_HELP, show_default=False)]
Words = list[str]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Error = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Whose error's type and message hold this text.")
]
ErrorType = Annotated[str | None, typer.Option("--error-type", metavar="NAME", help="Whose error is of this class.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="T", help="Since then: 15m, 2h, 7d ago, or 2030-01-31T09:00.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="T", help="Before then, likewise.")]
Everything = Annotated[bool, typer.Option("--all", help="All of them, where nothing else selects.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def named_target(given: str | None) -> str:
    """MODULE:HERD as given, else as OXHERD_APP or pyproject.toml names it. Raises ConfigError where nothing does."""
    if given is not None:
        return given
    from oxherd.cli.application import configured_target

    return configured_target()


def split(words: Words | None, *names: str, at_most: int | None = None) -> tuple[str, list[str]]:
    """MODULE:HERD, and the arguments after it, which must be those of `names`, and up to `at_most`.

    Raises:
        ConfigError: nothing names a herd.
        UsageError: an argument is missing, or there are too many.
    """
    from oxherd.cli.application import split_target

    target, rest = split_target(words or [])
    most = len(names) if at_most is None else at_most
    if len(rest) < len(names):
        raise UsageError(f"{names[len(rest)]} is missing; write [MODULE:HERD] {' '.join(names)}.")
    if len(rest) > most:
        raise UsageError(
            f"Too many arguments; write [MODULE:HERD] {' '.join(names) or '[EVENT]' * (most > 0)}".rstrip() + "."
        )
    return target, rest
