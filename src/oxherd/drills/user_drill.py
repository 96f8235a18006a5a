"""A drill whose fault is the user's own commands, run against the user's server."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oxherd.drills.drill import Drill, Needs
from oxherd.errors import OxherdError, UsageError

if TYPE_CHECKING:
    from oxherd.drills.session import DrillSession


@dataclass(frozen=True, slots=True)
class FaultCommands:
    """The command that breaks the server, the one that mends it (may be empty), and the seconds between them."""

    break_command: str
    mend_command: str
    seconds: float


def user_drill(commands: FaultCommands, names: list[str], url: str | None) -> Drill:
    """A drill that runs the commands during load on the server of `url`.

    Raises:
        UsageError: there is no URL, a drill is named as well, or a command cannot be parsed.
    """
    if url is None or names:
        raise UsageError("--break is a drill of your own, on your own server; give it --url and no drill's name.")
    break_arguments, mend_arguments = _split(commands.break_command), _split(commands.mend_command)

    async def inject(session: DrillSession) -> None:
        await _run(break_arguments)
        await session.pause(commands.seconds)
        await _run(mend_arguments)

    return Drill("own", commands.break_command, inject, Needs.WORKERS, repeats=True)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        raise UsageError("A command has an unclosed quote; quote it as for a shell.") from None


async def _run(arguments: list[str]) -> None:
    if not arguments:
        return
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise OxherdError(
            f"The command {arguments[0]!r} could not be run ({error.strerror}); check its path."
        ) from None
    status = await process.wait()
    if status:
        raise OxherdError(f"The command {arguments[0]!r} ended with status {status}; the drill was not carried out.")
