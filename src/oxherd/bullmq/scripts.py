"""The table of Lua scripts: those of the PyPI package `bullmq`, and ours in `lua/`, most of which frame one of those.

BullMQ's Python classes are not imported (docs/decisions/scripts-not-classes.md). A test compares names, key counts and
arguments with what the installed package's own `Scripts` class sends.

`lua/bullmq.sha256` has the hashes of those that we are tested with: other ones, even of a patch release, run only if
OXHERD_BULLMQ_SCRIPTS=unchecked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from functools import cache
from pathlib import Path

from oxherd.errors import ConfigError
from oxherd.redis.client import Script

# BullMQ's scripts and their number of keys, as the file names of bullmq 3.4.4 say.
BULLMQ = {
    "addStandardJob": 9,
    "addDelayedJob": 6,
    "addPrioritizedJob": 9,
    "moveToActive": 11,
    "moveToFinished": 14,
    "moveToDelayed": 11,
    "retryJob": 11,
    "moveJobFromActiveToWait": 9,
    "moveStalledJobsToWait": 9,
    "updateProgress": 3,
    "addJobScheduler": 11,
    "updateJobScheduler": 12,
    "removeJobScheduler": 3,
    "getCounts": 1,
    "promote": 9,
    "removeJob": 2,
    "reprocessJob": 9,
    "pause": 7,
}
# Our scripts, each a file in `lua/`: its number of keys, or the script of BullMQ that it frames and shares the keys of.
OURS: dict[str, int | str] = {
    "add_standard": "addStandardJob",
    "add_delayed": "addDelayedJob",
    "add_prioritized": "addPrioritizedJob",
    "add_many": 7,
    "add_unique": 10,
    "fetch_next": "moveToActive",
    "fetch_in_order": "moveToActive",
    "fetch_by_key": "moveToActive",
    "note": 1,
    "progress": "updateProgress",
    "retake_locks": 2,
    "finish": "moveToFinished",
    "finish_many": 9,
    "delay": "moveToDelayed",
    "retry": "retryJob",
    "retry_in_order": "retryJob",
    "requeue": "moveJobFromActiveToWait",
    "requeue_in_order": "moveJobFromActiveToWait",
    "key_job": "moveJobFromActiveToWait",
    "pause_key": 2,
    "look_at_keys": 1,
    "requeue_at_rest": "moveJobFromActiveToWait",
    "rest": 1,
    "check_stalled": "moveStalledJobsToWait",
    "advance": "updateJobScheduler",
    "reprocess": "reprocessJob",
    "quarantine": "moveToFinished",
    "unclaimed": 1,
    "ask": 1,
    "status": 1,
    "cancel": "removeJob",
    "cancel_requests": 1,
    "find": 1,
    "overview": 1,
    "remove": "removeJob",
    "busiest_key": 4,
    "heartbeat": 4,
    "workers": 1,
    "schedule": "addJobScheduler",
    "unschedule": "removeJobScheduler",
    "pause_schedule": 4,
    "schedules": 3,
    "declare_schedules": 2,
    "declare_limits": 4,
}

_LUA = Path(__file__).parent / "lua"
_DIRECTIVE = re.compile(rb'^--- @(?:include "([\w/]+)"|bullmq)$', re.MULTILINE)


@cache
def script(name: str) -> Script:
    """One of BULLMQ or OURS.

    Raises:
        ConfigError: the installed `bullmq` package has not the scripts that we are tested with.
    """
    if name in BULLMQ:
        keys, text = BULLMQ[name], _bullmq(name)
    else:
        framed = OURS[name]
        keys = framed if isinstance(framed, int) else BULLMQ[framed]
        text = _ours(name, b"" if isinstance(framed, int) else _bullmq(framed))
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode(), keys)


def folder() -> Path:
    """Where the installed `bullmq` package keeps its scripts; the package itself is not imported."""
    spec = importlib.util.find_spec("bullmq")
    if spec is None:
        raise ConfigError("The package bullmq is not installed; install bullmq 3.4.4.")
    if not spec.submodule_search_locations:
        raise ConfigError(f"The package bullmq is hidden by {spec.origin}; rename that file.")
    return Path(next(iter(spec.submodule_search_locations))) / "commands"


def _bullmq(name: str) -> bytes:
    return (checked_folder() / f"{name}-{BULLMQ[name]}.lua").read_bytes()


@cache
def checked_folder() -> Path:
    """`folder`, once every script in it has been compared with its hash."""
    found, changed = folder(), list[str]()
    for line in (_LUA / "bullmq.sha256").read_text().splitlines():
        expected, file = line.split()
        if not (found / file).is_file():
            raise ConfigError(f"The installed bullmq package has no script {file}; install bullmq 3.4.4.")
        if hashlib.sha256((found / file).read_bytes()).hexdigest() != expected:
            changed.append(file)
    if changed and os.environ.get("OXHERD_BULLMQ_SCRIPTS") != "unchecked":
        raise ConfigError(
            f"The installed bullmq package has other scripts than oxherd is tested with ({', '.join(changed)}); "
            "install bullmq 3.4.4, or set OXHERD_BULLMQ_SCRIPTS=unchecked to run these."
        )
    return found


def _ours(name: str, framed: bytes) -> bytes:
    """A file of ours, `--- @include "file"` replaced by that file, and `--- @bullmq` by the script that it frames."""
    text = (_LUA / f"{name}.lua").read_bytes()
    return _DIRECTIVE.sub(lambda found: _ours(found[1].decode(), framed) if found[1] else framed, text)
