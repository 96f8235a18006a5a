"""Puts what the commands do into the audit log."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import replace

from oxherd.admin import Audited, Summary
from oxherd.admin.operation import Operation
from oxherd.app import Oxherd
from oxherd.cli.admin.drive import drive
from oxherd.cli.output import write_error
from oxherd.errors import OxherdError, RedisUnavailable


def audited(action: str, subject: str | None, selection: str = "") -> Audited:
    """The entry of what this command's user does; no event stands for all."""
    return Audited(_who(), "command line", action, subject or "", selection)


async def drive_audited(herd: Oxherd, bulk: Operation, entry: Audited) -> tuple[Summary, bool]:
    """Work as `drive`, once the beginning is in the audit log; its end follows.

    Raises:
        OxherdError: the audit log cannot be written, so that nothing was begun; and as `drive`.
    """
    await herd.admin.record(replace(entry, outcome="begun"))
    try:
        summary, stopped = await drive(bulk)
    except OxherdError as error:
        if not isinstance(error, RedisUnavailable):  # then the log cannot be written either
            await record_done(herd, _ended(entry, bulk.summary, "failed"))
        raise
    await record_done(herd, _ended(entry, summary, "done" if summary.complete else "stopped"))
    return summary, stopped


async def record_done(herd: Oxherd, entry: Audited) -> None:
    """Add what is done to the audit log, or say that it is not in there."""
    try:
        await herd.admin.record(entry)
    except OxherdError as error:
        write_error(f"oxherd: it is done, but not in the audit log: {error}")


def _ended(entry: Audited, summary: Summary, outcome: str) -> Audited:
    return replace(entry, done=summary.done, skipped=summary.skipped, outcome=outcome)


def _who() -> str:
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name  # not what the environment says
    except KeyError:
        name = str(user)
    return f"{name}@{socket.gethostname()}"
