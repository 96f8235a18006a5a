"""What an error of redis-py means to us: a table, in one place."""

from __future__ import annotations

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

# The server speaks of its own state, not of our command: the same command may succeed later.
_SERVER_STATES: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "auth"),
    (AuthorizationError, "auth"),
    (NoPermissionError, "auth"),
    (MasterDownError, "cluster"),
    (ClusterDownError, "cluster"),
    (TryAgainError, "cluster"),
    (BusyLoadingError, "command"),
    (OutOfMemoryError, "command"),
    (ReadOnlyError, "command"),
)
_SERVER_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "OOM ", "READONLY ", "LOADING ", "CLUSTERDOWN ")


# Said inside a script about a key that it does not declare, while the slot moves: some of its writes may be done.
_HALFWAY = "non local key in a cluster node"


def slot_moves(error: BaseException) -> bool:
    """Whether half of a slot's keys are elsewhere: the other half follows within moments."""
    return isinstance(error, TryAgainError) or _HALFWAY in str(error)


def lost(node: str, error: BaseException | str, *, maybe_applied: bool) -> RedisUnavailable:
    """A connection that could not be made, or was lost."""
    return RedisUnavailable(
        f"Redis at {node} cannot be reached: {describe(error)}; check the server and OXHERD_URL.",
        source="connect",
        node=node,
        maybe_applied=maybe_applied,
    )


def server_state(error: BaseException, node: str) -> RedisUnavailable | None:
    """The refusal that `error` stands for when it is about the server's state, else None."""
    source = next((source for kind, source in _SERVER_STATES if isinstance(error, kind)), None)
    if source is None and isinstance(error, ResponseError):
        text = str(error)
        # An error raised inside a script carries the code behind the script's own prefix.
        if text.startswith(_SERVER_CODES) or "-OOM " in text or "OOM command not allowed" in text:
            source = "command"
        elif "NOPERM" in text or "ACL failure in script" in text:
            source = "auth"
        elif _HALFWAY in text:
            source = "cluster"
    if source is None:
        return None
    return RedisUnavailable(
        f"Redis at {node} does not serve us: {describe(error)}.",
        source=source,
        node=node,
        maybe_applied=_HALFWAY in str(error),
    )


def describe(error: BaseException | str) -> str:
    """The error's own words, or its type where it has none; one line, at most 200 characters."""
    text = error if isinstance(error, str) else (str(error) or type(error).__name__)
    return " ".join(text.split())[:200].rstrip(".")
