"""Maps the errors of redis-py to ours."""

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

from oxherd.errors import OxherdError, RedisUnavailable
from oxherd.redis.tls import TLSFailure

_AUTH = (AuthenticationError, AuthorizationError, NoPermissionError)
# Errors about the state of the server, not the command: the same command may succeed later.
_SERVER_STATES: tuple[tuple[type[BaseException], str], ...] = (
    *((error, "auth") for error in _AUTH),
    (MasterDownError, "cluster"),
    (ClusterDownError, "cluster"),
    (TryAgainError, "cluster"),
    (BusyLoadingError, "command"),
    (OutOfMemoryError, "command"),
    (ReadOnlyError, "command"),
)
# Before 7.2, Redis tells of a right that a script lacks only the line of the script.
_DENIED_IN_SCRIPT = "The user executing the script "
_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)
_SCRIPT_LINE_SUFFIX = re.compile(r" script: [^:]*@user_script:\d+$")
_LINE = re.compile(r"user_script:(\d+)")
_COMMAND = re.compile(rb"""call\(\s*["'](\w+)["']""")
_GRANT = "; grant what is listed under Access rights in docs/operations.md"
_LOG_IN = "; check the user and the password in the URL, percent-encoded where they need it"
_STATE_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "OOM ", "READONLY ", "LOADING ", "CLUSTERDOWN ")

# A script's error on a key that it does not declare, while the slot is moving: some of its writes may be done.
_UNDECLARED_KEY = "non local key in a cluster node"


def slot_moves(error: BaseException) -> bool:
    """Whether the slot is being moved: some of its keys are on another node, the others follow within moments."""
    return isinstance(error, TryAgainError) or _UNDECLARED_KEY in str(error)


def is_unblocked(error: ResponseError) -> bool:
    """Whether a blocking command was woken up: by CLIENT UNBLOCK, which any user may send, or by a change of role."""
    return str(error).startswith("UNBLOCKED ")


def unreachable(
    node: str, error: BaseException | str, *, maybe_applied: bool, source: str = "connect"
) -> RedisUnavailable:
    """The error for a connection that could not be made, or was lost."""
    remedy = "" if isinstance(error, TLSFailure) else "; check that the server runs there"
    return RedisUnavailable(
        f"Redis at {node} cannot be reached: {describe(error)}{remedy}.",
        source=source,
        node=node,
        maybe_applied=maybe_applied,
    )


def common_source(errors: Iterable[BaseException]) -> str:
    """The source of several servers' errors: `auth` if all are about our rights, else `connect`."""
    return "auth" if all(isinstance(error, _AUTH) for error in errors) else "connect"


def server_refusal(error: BaseException, node: str, script: bytes = b"") -> RedisUnavailable | None:
    """RedisUnavailable if `error` is about the server's state or our rights, else None.

    `script` is the text of the script that was called, if any.
    """
    source = next((source for kind, source in _SERVER_STATES if isinstance(error, kind)), None)
    text = str(error)
    in_script = "ACL failure in script" in text or _DENIED_IN_SCRIPT in text
    if source is None and isinstance(error, ResponseError):
        # In an error raised inside a script, the code stands behind the script's own prefix.
        if text.startswith(_STATE_CODES) or "-OOM " in text or "OOM command not allowed" in text:
            source = "command"
        elif in_script or "NOPERM" in text:
            source = "auth"
        elif _UNDECLARED_KEY in text:
            source = "cluster"
    if source is None:
        return None
    reason = describe(error)
    if in_script or isinstance(error, NoPermissionError):
        reason = f"{_SCRIPT_LINE_SUFFIX.sub('', reason)}{_command_denied(text, script)}{_GRANT}"
    elif source == "auth":
        reason += _LOG_IN
    return RedisUnavailable(
        f"Redis at {node} does not serve us: {reason}.",
        source=source,
        node=node,
        # What a script wrote before the error stays written.
        maybe_applied=in_script or _UNDECLARED_KEY in text,
    )


def _command_denied(text: str, script: bytes) -> str:
    """The command that a script may not call, if the server tells only its line."""
    line = _LINE.search(text) if _DENIED_IN_SCRIPT in text else None
    lines = script.splitlines()
    if line is None or int(line[1]) > len(lines):
        return ""
    command = _COMMAND.search(lines[int(line[1]) - 1])
    return f" ('{command[1].decode().lower()}')" if command else ""


def describe(error: BaseException | str) -> str:
    """The error's message, or its type if it has none: one line, without arguments; others' at most 200 characters."""
    if isinstance(error, OxherdError):
        return str(error).rstrip(".")
    text = error if isinstance(error, str) else (str(error) or type(error).__name__)
    # The server repeats the arguments of an unknown command: AUTH's password, a script's payload.
    text = _ARGUMENTS.sub("", text)
    return " ".join(text.split())[:200].rstrip(".")
