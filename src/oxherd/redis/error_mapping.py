"""What an error of redis-py means to us: a table, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from oxherd.errors import RedisUnavailable

_AUTH = (AuthenticationError, AuthorizationError, NoPermissionError)
# The server speaks of its own state, not of our command: the same command may succeed later.
_SERVER_STATES: tuple[tuple[type[BaseException], str], ...] = (
    *((error, "auth") for error in _AUTH),
    (MasterDownError, "cluster"),
    (ClusterDownError, "cluster"),
    (TryAgainError, "cluster"),
    (BusyLoadingError, "command"),
    (OutOfMemoryError, "command"),
    (ReadOnlyError, "command"),
)
# Redis before 7.2 says of a right that a script lacks neither its own code nor the command's name, but the line.
_DENIED_IN_SCRIPT = "The user executing the script "
_REPEATED = re.compile(r",? with args beginning with:.*", re.DOTALL)
_WHERE = re.compile(r" script: [^:]*@user_script:\d+$")
_LINE = re.compile(r"user_script:(\d+)")
_COMMAND = re.compile(rb"""call\(\s*["'](\w+)["']""")
_GRANT = "; grant what is listed under Access rights in docs/operations.md"
_LOG_IN = "; check the user and the password in OXHERD_URL"
_SERVER_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "OOM ", "READONLY ", "LOADING ", "CLUSTERDOWN ")


# Said inside a script about a key that it does not declare, while the slot moves: some of its writes may be done.
_HALFWAY = "non local key in a cluster node"


def slot_moves(error: BaseException) -> bool:
    """Whether half of a slot's keys are elsewhere: the other half follows within moments."""
    return isinstance(error, TryAgainError) or _HALFWAY in str(error)


def lost(node: str, error: BaseException | str, *, maybe_applied: bool, source: str = "connect") -> RedisUnavailable:
    """A connection that could not be made, or was lost."""
    return RedisUnavailable(
        f"Redis at {node} cannot be reached: {describe(error)}; check the server and OXHERD_URL.",
        source=source,
        node=node,
        maybe_applied=maybe_applied,
    )


def common_source(errors: Iterable[BaseException]) -> str:
    """`auth` where each of several servers that were asked the same refuses us, else `connect`."""
    return "auth" if all(isinstance(error, _AUTH) for error in errors) else "connect"


def server_state(error: BaseException, node: str, script: bytes = b"") -> RedisUnavailable | None:
    """The refusal that `error` stands for when it is about the server's state, else None.

    `script` is the text of the script that was called, if it was one.
    """
    source = next((source for kind, source in _SERVER_STATES if isinstance(error, kind)), None)
    text = str(error)
    in_script = "ACL failure in script" in text or _DENIED_IN_SCRIPT in text
    if source is None and isinstance(error, ResponseError):
        # An error raised inside a script carries the code behind the script's own prefix.
        if text.startswith(_SERVER_CODES) or "-OOM " in text or "OOM command not allowed" in text:
            source = "command"
        elif in_script or "NOPERM" in text:
            source = "auth"
        elif _HALFWAY in text:
            source = "cluster"
    if source is None:
        return None
    told = describe(error)
    if in_script or isinstance(error, NoPermissionError):
        told = f"{_WHERE.sub('', told)}{_command_denied(text, script)}{_GRANT}"
    elif source == "auth":
        told += _LOG_IN
    return RedisUnavailable(
        f"Redis at {node} does not serve us: {told}.",
        source=source,
        node=node,
        # What a script wrote before it was refused stays written.
        maybe_applied=in_script or _HALFWAY in text,
    )


def _command_denied(text: str, script: bytes) -> str:
    """The command that a script may not call, where the server tells only the line in which it stands."""
    line = _LINE.search(text) if _DENIED_IN_SCRIPT in text else None
    lines = script.splitlines()
    if line is None or int(line[1]) > len(lines):
        return ""
    command = _COMMAND.search(lines[int(line[1]) - 1])
    return f" ('{command[1].decode().lower()}')" if command else ""


def describe(error: BaseException | str) -> str:
    """The error's own words, or its type where it has none; one line, at most 200 characters."""
    text = error if isinstance(error, str) else (str(error) or type(error).__name__)
    # A server repeats the arguments of a command that it does not know: of AUTH the password, of a script the payload.
    text = _REPEATED.sub("", text)
    return " ".join(text.split())[:200].rstrip(".")
