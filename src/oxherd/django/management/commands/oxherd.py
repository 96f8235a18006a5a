"""`manage.py oxherd`: the commands of `oxherd`, about the project's herd."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, SystemCheckError

from oxherd.cli import main
from oxherd.django.project import APPLICATION

_NAMED = "OXHERD_APP"
_TAG = "oxherd"
# Django's own, which it has heeded by now.
_PYTHON_PATH = "--pythonpath"
_WITH_VALUE = ("--settings", _PYTHON_PATH)
_SKIP_CHECKS = "--skip-checks"


class Command(BaseCommand):
    """Hands its arguments to the command line of oxherd."""

    help = "Process, show and steer the project's events: worker, ls, find, retry, ... (--help lists all)."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run what stands behind `manage.py oxherd`, and exit with its status."""
        name, arguments = _name(argv[0], argv[1]), _without_djangos(argv[2:])
        if _SKIP_CHECKS in arguments:
            arguments.remove(_SKIP_CHECKS)
        else:
            self._check_project(arguments)
        if arguments[:1] == ["worker"]:
            # The processes that it starts have another script than manage.py, and perhaps another folder.
            _make_importable(Path(argv[0]).resolve().parent, *_python_paths(argv[2:]))
        with _named_herd():
            main(_with_projects_logging(arguments), name)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print what `--help` does."""
        main(["--help"], _name(prog_name, subcommand))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """For `call_command("oxherd", "ls", "--json")`."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run a command from code; raises CommandError if its status is not 0."""
        try:
            with _named_herd():
                main(_with_projects_logging(options["arguments"]), "oxherd")
        except SystemExit as error:
            if error.code:
                raise CommandError(
                    f"oxherd has failed with status {error.code}; see standard error.", returncode=_status(error)
                ) from None

    def _check_project(self, arguments: list[str]) -> None:
        """The checks of the whole project before a worker starts, and of oxherd's own before anything else."""
        try:
            # Alone at first: others import views, and by them a herd that cannot be made.
            self.check(tags=[_TAG])
            if arguments[:1] == ["worker"]:
                self.check()
        except SystemCheckError as error:
            self.stderr.write(str(error), lambda text: text)
            sys.exit(2)


def _name(program: str, command: str) -> str:
    return f"{Path(program).name} {command}"


def _without_djangos(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*kept, argument, *rest]
        if argument in _WITH_VALUE:
            next(rest, None)
        elif argument.partition("=")[0] not in _WITH_VALUE:
            kept.append(argument)
    return kept


def _with_projects_logging(arguments: list[str]) -> list[str]:
    """A worker logs as LOGGING says, unless it is told otherwise."""
    told = any(argument.partition("=")[0] == "--log-format" for argument in arguments)
    return arguments if arguments[:1] != ["worker"] or told else [*arguments, "--log-format", "application"]


def _python_paths(arguments: list[str]) -> list[Path]:
    """The folders of `--pythonpath`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(_PYTHON_PATH, action="append", default=[], type=Path)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return [path.resolve() for path in parser.parse_known_args(own)[0].pythonpath]


def _make_importable(*folders: Path) -> None:
    others = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    new = [str(each) for each in folders if each != Path.cwd() and str(each) not in others]
    if new:
        os.environ["PYTHONPATH"] = os.pathsep.join([*new, *others])


@contextmanager
def _named_herd() -> Generator[None]:
    """Have a command that names no herd be about the project's."""
    before = os.environ.get(_NAMED)
    os.environ.setdefault(_NAMED, f"{APPLICATION}:herd")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NAMED]


def _status(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else 1
