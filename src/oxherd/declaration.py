"""An event as it was declared: validated once, frozen, and read by all other parts."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints
from uuid import UUID

from oxherd.context import Context
from oxherd.errors import DeclarationError, UsageError
from oxherd.keyring import Keyring, Sealing
from oxherd.payload import PayloadType
from oxherd.policy import Keep, Retry, Seconds, seconds, whole

RunIn = Literal["loop", "thread", "process"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
LONGEST = 100 * 365.25 * 86_400.0  # seconds; a century, before BullMQ's scores lose their last digits
_HIGHEST_PRIORITY = 2_097_151  # BullMQ's PRIORITY_LIMIT
MOST_SHARDS = 1024  # each is a queue with connections and look-ups of its own


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that processes an event, and how it is called."""

    function: Callable[..., Any]
    run_in: RunIn
    wants_context: bool
    payload: Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is known of an event; `timeout` and `lock` are seconds, `max_payload` is bytes."""

    name: str
    queue: str
    payload: PayloadType[Any]
    concurrency: int
    retry: Retry
    timeout: float | None
    lock: float
    max_stalls: int
    keep: Keep
    max_payload: int
    shards: int
    key: Callable[[Any], object] | None
    ordered: bool
    once_ms: int
    durable: bool
    options: dict[str, Any] = field(repr=False)

    @property
    def own_queue(self) -> bool:
        """Whether the queue is the event's alone: `{name}`, a hash tag of its own."""
        return self.queue == f"{{{self.name}}}"

    @property
    def lock_ms(self) -> int:
        """The lock in milliseconds."""
        return max(1, round(self.lock * 1000))


def declare(
    name: str,
    payload: Any,
    *,
    queue: str | None,
    concurrency: int,
    retry: Retry,
    timeout: Seconds | None,
    lock: Seconds,
    max_stalls: int,
    keep: Keep,
    max_payload: int,
    shards: int,
    key: Callable[[Any], object] | None,
    ordered: bool,
    once: Seconds | None,
    durable: bool,
    seal: Keyring | Sealing | None,
) -> Declaration:
    """A declaration, or a DeclarationError that says which value cannot work."""
    check_name(name)
    whole(shards, f"{name}: shards", least=1, most=MOST_SHARDS)
    _check_order(name, queue, shards, key, ordered)
    whole(max_payload, f"{name}: max_payload", least=1)
    return Declaration(
        name=name,
        queue=f"{{{name}}}" if queue is None else _queue_name(name, queue),
        payload=PayloadType(payload, name, max_payload, seal),
        concurrency=whole(concurrency, f"{name}: concurrency", least=1),
        retry=_instance(name, "retry", retry, Retry),
        timeout=None if timeout is None else seconds(timeout, f"{name}: timeout", least=0.001),
        lock=seconds(lock, f"{name}: lock", least=0.1),
        max_stalls=whole(max_stalls, f"{name}: max_stalls", least=0),
        keep=_instance(name, "keep", keep, Keep),
        max_payload=max_payload,
        shards=shards,
        key=key,
        ordered=ordered,
        once_ms=milliseconds_once(name, once),
        durable=check_durable(name, durable),
        options={**retry.options, **keep.options},
    )


def _check_order(name: str, queue: str | None, shards: int, key: Callable[[Any], object] | None, ordered: bool) -> None:
    if not isinstance(ordered, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{name}: ordered must be True or False.")
    if key is not None and (not callable(key) or inspect.iscoroutinefunction(key)):
        raise DeclarationError(f"{name}: key must be a function of the payload, and no async def.")
    if queue is not None and (shards > 1 or ordered):
        raise DeclarationError(f"{name}: shards and ordered are for an event with a queue of its own; leave queue out.")
    if ordered and shards > 1 and key is None:
        raise DeclarationError(f"{name}: an ordered event with several shards needs key=, what its order is kept for.")


def check_name(name: str, what: str = "event") -> str:
    """`name`, or a DeclarationError that says what a name may be."""
    if not isinstance(name, str) or not is_name(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"{str(name)[:140]!r} is no {what} name: "
            "it is a letter or digit, then up to 127 of letters, digits, '.', '_', '-'."
        )
    return name


def is_name(text: str) -> bool:
    """Whether an event may be called that."""
    return _NAME.match(text) is not None


def key_of(declaration: Declaration, payload: Any) -> bytes | None:
    """The key of a payload, as bytes; None for an event without keys, or where the function answers None.

    Raises:
        UsageError: the function raised, or its answer is not a str, int, UUID or bytes.
    """
    if declaration.key is None:
        return None
    try:
        value = declaration.key(payload)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything, with the payload in it
        why = f"raised {type(error).__name__}"
    else:
        if isinstance(value, bytes):
            return value
        if isinstance(value, str | int | UUID):
            return str(value).encode("utf-8", "surrogatepass")
        if value is None and not declaration.ordered:
            return None
        why = f"answered a {type(value).__name__}"
    raise UsageError(f"{declaration.name}: its key function {why}; let it answer a str, int, UUID or bytes.")


def milliseconds_once(name: str, once: Seconds | None) -> int:
    """`once` of an event or an emit in milliseconds; 0 for None and 0.

    Raises:
        DeclarationError: it is not a number or a timedelta of at most a century.
    """
    return 0 if once is None else math.ceil(seconds(once, f"{name}: once", most=LONGEST) * 1000)


def check_durable(name: str, durable: bool) -> bool:
    """`durable` of an event or an emit, or a DeclarationError."""
    if not isinstance(durable, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{name}: durable must be True or False.")
    return durable


def check_priority(priority: int) -> int:
    """A priority as BullMQ takes it: 0 (none, served first) to 2,097,151."""
    return whole(priority, "priority", least=0, most=_HIGHEST_PRIORITY)


def inspect_handler(
    name: str, function: Callable[..., Any], run_in: RunIn | None, scope: dict[str, Any] | None = None
) -> Handler:
    """How `function` is called, read from its signature; `scope` is where its annotations may be defined, too.

    Raises:
        DeclarationError: it is not a function of a payload and, if it likes, a Context; or `run_in` does not fit.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(function, localns=scope, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{name}: an annotation of the handler names {error.name!r}, which is not defined there; import it."
        ) from None
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{name}: the handler's signature cannot be read ({type(error).__name__}).") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not positional or len(required) > 2 or any(p not in positional[:2] for p in required):
        raise DeclarationError(f"{name}: a handler takes the payload and, if it likes, a Context.")
    wants_context = len(positional) > 1 and (positional[1] in required or hints.get(positional[1].name) is Context)
    if positional[0].name not in hints:
        raise DeclarationError(f"{name}: annotate the handler's first parameter with the payload's type.")
    is_async = inspect.iscoroutinefunction(function)
    if is_async and run_in not in (None, "loop"):
        raise DeclarationError(
            f"{name}: an async handler runs in the event loop; make it a def to use run_in={run_in!r}."
        )
    if not is_async and run_in not in (None, "thread", "process"):
        raise DeclarationError(f"{name}: run_in must be 'thread' or 'process' for a def handler.")
    if run_in == "process":
        _check_importable(name, function)
    return Handler(
        function=function,
        run_in="loop" if is_async else (run_in or "thread"),
        wants_context=wants_context,
        payload=hints[positional[0].name],
    )


def caller_scope() -> dict[str, Any]:
    """The names that are local where our caller was called: a payload's type may be defined there."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    return dict(caller.f_locals) if caller is not None else {}


def _check_importable(name: str, function: Callable[..., Any]) -> None:
    """Refuse what another process cannot find: it imports the module that declares the handler."""
    at_top = inspect.isfunction(function) and function.__qualname__ == function.__name__ != "<lambda>"
    if not at_top:
        raise DeclarationError(
            f"{name}: a handler that runs in a process must be importable; make it a def at the top level of a module."
        )
    main = sys.modules["__main__"]
    in_file = main.__spec__ is not None or Path(getattr(main, "__file__", "")).is_file()
    if function.__module__ == "__main__" and not in_file:
        raise DeclarationError(
            f"{name}: a handler that runs in a process must be importable; put it in a file, and run or import that."
        )


def _queue_name(event: str, queue: str) -> str:
    if not isinstance(queue, str) or not queue or ":" in queue or len(queue) > 512:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{event}: queue must be the name of a BullMQ queue, without ':'.")
    return queue


def _instance(name: str, what: str, value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise DeclarationError(f"{name}: {what} must be a {kind.__name__}(...).")
    return value
