"""The command that runs a module of ours as this process's Python would."""

from __future__ import annotations

import sys

_WITH_VALUE = "WX"
_MODULE_OR_CODE = "cm"
# They concern this process alone: an interactive prompt, a script's first line.
_NOT_INHERITED = "ix"


def module_command(module: str, *arguments: str) -> list[str]:
    """Run `module` with the options that this interpreter was started with.

    -P: the current folder is not put before the standard library, which a project's `queue.py` would then replace.
    """
    return [sys.executable, *interpreter_options(sys.orig_argv[1:]), "-P", "-m", module, *arguments]


def interpreter_options(arguments: list[str]) -> list[str]:
    """The interpreter's own options at the begin of a command line."""
    options: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--check-hash-based-pycs":
            options += [argument, next(rest)]
            continue
        if argument == "-" or not argument.startswith("-") or argument.startswith("--"):
            break
        for position, letter in enumerate(argument[1:], 2):
            if letter in _MODULE_OR_CODE:
                return options
            if letter in _WITH_VALUE:
                options.append(f"-{letter}{argument[position:] or next(rest)}")
                break
            if letter not in _NOT_INHERITED:
                options.append(f"-{letter}")
    return options
