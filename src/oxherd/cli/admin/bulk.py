"""`oxherd retry`, `discard`, `promote` and `move`: act on a selection in batches, with progress, until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oxherd.admin import Bulk, SearchState, Summary
from oxherd.app import Oxherd
from oxherd.cli.admin.audited import audited, drive_audited
from oxherd.cli.admin.question import confirm
from oxherd.cli.admin.selection import Narrowing, ids_in_words, split_words
from oxherd.cli.admin.session import with_herd
from oxherd.cli.output import write_error, write_line
from oxherd.errors import UsageError

INTERRUPTED = 128 + signal.SIGINT
# The state that an action is about, where it is about one only.
_ONLY: dict[str, SearchState] = {"retry": "failed", "promote": "delayed"}
_PAST = {"retry": "retried", "discard": "discarded", "promote": "promoted", "move": "moved", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True)
class Request:
    """What a command was asked for: its name, MODULE:HERD as given, the other arguments, and its options."""

    action: str
    target: str
    words: Sequence[str]
    state: SearchState
    narrowing: Narrowing
    everything: bool
    yes: bool


def run(request: Request) -> int:
    """Act on the selection; returns the exit status."""
    name, ids = split_words(request.words)
    if (meant := _ONLY.get(request.action, request.state)) != request.state:
        raise UsageError(f"{request.action} is for what is {meant}; leave --state out.")
    if not (name or ids or request.everything or request.narrowing.given):
        raise UsageError(
            f"{request.action} needs a selection: an event, UUIDs, --error, --error-type, --since or --until; "
            f"or --all for all that are {request.state.replace('_', ' ')}."
        )

    async def act(herd: Oxherd) -> tuple[Summary, bool]:
        bulk = _bulk(herd, request, name, [str(each) for each in ids] or None)
        if request.action == "discard" and not request.yes:
            confirm(_question(request, name, await bulk.count()), yes=False)
        return await drive_audited(herd, bulk, audited(request.action, name, _in_words(request, len(ids))))

    summary, stopped = with_herd(request.target, act)
    return report(summary, stopped, lambda: _go_on(request, summary), fails_empty=bool(ids))


def move(target: str, queue: str, event: str) -> int:
    """Move what waits under a queue that no event has to an event; returns the exit status."""

    async def act(herd: Oxherd) -> tuple[Summary, bool]:
        return await drive_audited(herd, herd.admin.move(queue, event), audited("move", event, f"from {queue}"))

    summary, stopped = with_herd(target, act)
    return report(summary, stopped, lambda: shlex.join(["oxherd", "move", target, queue, event]), fails_empty=False)


def _bulk(herd: Oxherd, request: Request, name: str | None, ids: list[str] | None) -> Bulk:
    options: dict[str, Any] = {"ids": ids, "everything": request.everything, **request.narrowing.options()}
    match request.action:
        case "retry":
            return herd.admin.retry(name, **options)
        case "promote":
            return herd.admin.promote(name, **options)
        case _:
            return herd.admin.discard(name, state=request.state, **options)


def report(summary: Summary, stopped: bool, go_on: Callable[[], str], *, fails_empty: bool) -> int:
    """Say what was done; returns the exit status."""
    said = f"{summary.done:,} {_PAST[summary.action]}"
    if summary.skipped:
        said += f", {summary.skipped:,} left alone"
    write_line(said)
    for problem in summary.problems:
        write_error(f"oxherd: {problem}")
    if not summary.complete:
        write_error(f"stopped; to go on: {go_on()}")
        return INTERRUPTED if stopped else 1
    return 1 if summary.problems or (fails_empty and not summary.done) else 0


def _question(request: Request, name: str | None, count: int | None) -> str:
    what = "the selected" if count is None else f"{count:,}"
    of = "" if name is None else f" of {name}"
    return f"Remove {what} events that are {request.state.replace('_', ' ')}{of}, for good?"


def _in_words(request: Request, ids: int) -> str:
    """The selection, for the audit log."""
    return ids_in_words(ids) if ids else request.narrowing.in_words(request.state)


def _go_on(request: Request, summary: Summary) -> str:
    """The command that goes on with what is left, and leaves alone what has failed anew."""
    words = ["oxherd", request.action, request.target, *request.words, *request.narrowing.words()]
    if request.action == "discard" and request.state != "failed":
        words += ["--state", request.state]
    until = None if summary.until is None else summary.until.isoformat(timespec="milliseconds")
    if until is not None:
        words += ["--until", until]
    words += ["--all"] * request.everything + ["--yes"] * request.yes
    return shlex.join(words)
