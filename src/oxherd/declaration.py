"""An event's declaration: its options, validated once and frozen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from oxherd.declared_schedules import DeclaredSchedule, declared_schedules
from oxherd.errors import DeclarationError, UsageError, did_you_mean, is_interrupt
from oxherd.limits import NO_LIMITS, Limits, PerKey, Rate, check_limits, limit_key
from oxherd.payload.failure import MOST_PAYLOAD, FailureType, payload_type
from oxherd.payload.keyring import Keyring, Sealing
from oxherd.payload.payload_type import PayloadType
from oxherd.payload.result_type import ResultType
from oxherd.policy import (
    Keep,
    Retry,
    Seconds,
    boolean,
    check_key_function,
    seconds,
    text,
    whole_number,
    with_expiry,
)
from oxherd.privacy.allow import Allow
from oxherd.process import Process
from oxherd.schedule.declared import Schedule
from oxherd.uniqueness import Debounce, Unique, UniqueKey, check_unique, unique_key

P = TypeVar("P")

RunIn = Literal["loop", "thread", "process"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_MAX_PRIORITY = 2_097_151  # BullMQ's PRIORITY_LIMIT
# Times of emits whose options are kept: each emit may give another.
_MAX_EXPIRIES = 64
MAX_SHARDS = 1024  # each is a queue with a connection of its own


class RelayTarget(Protocol):
    """An event that is emitted by way of another queue's outbox."""

    @property
    def name(self) -> str:
        """The event's name."""
        ...

    @property
    def declaration(self) -> Declaration:
        """The event's declaration."""
        ...

    async def relay(self, event_id: str, data: bytes, metadata: str) -> None:
        """Add the event, with its payload's JSON as it is to be stored, once a day for one id; see `Event.relay`."""
        ...


class DeclareOptions(TypedDict, Generic[P], total=False):
    """The options of `Oxherd.declare`; each is optional.

    Attributes:
        concurrency: how many run at once, in each worker process. Default: 10.
        retry: how often it is tried, and the delays in between. Default: 3 attempts, the delay doubling from 1 s.
        timeout: seconds (or a timedelta) that one run may take. Default: no limit.
        expires: seconds (or a timedelta) from the emit, or from a schedule's tick, after which an event that has not
            begun is dropped. Default: never.
        lock: seconds (or a timedelta), at least 0.1, that a worker may be silent before another gets its event.
            Default: 30.
        max_stalls: how often a worker may die or fall silent over an event before it goes to failed. Default: 1.
        keep: how many finished ones stay in Redis. Default: none completed; the last 10,000 failed, for 14 days.
        max_payload: bytes of JSON. Default: 1 MiB.
        queue: an existing queue's name, verbatim. Default: `{name}`, a hash tag and so a cluster slot of its own.
        shards: the number of queues, 1 (the default) to 1,024, each in a slot of its own, that the event is spread
            over. It may change while events wait; drain an ordered event first.
        key: a function of the payload that returns a str, int, UUID or bytes; events of one key stay on one shard.
            Without it, or if it returns None, an event's id decides.
        ordered: run the events of each shard one at a time, in the order of the emits: the next begins once the one
            before is completed or has failed for good.
        once: seconds (or a timedelta) for which an id makes no second event even if the first has been processed
            and removed; at least the herd's `emit_timeout`. See `Event.emit`.
        unique: a `Unique` or a `Debounce`: which emits of one key make one event.
        rate: a `Rate`: how many are begun in a window of time, over all workers. Default: no limit.
        max_running: how many run at once, over all workers. Default: no limit.
        per_key: a `PerKey`: the same for each key. Default: no limit.
        durable: acknowledge an emit only once the replicas, or the disk, have it; see `Event.emit`.
        seal: a Keyring that encrypts payloads, or fields of them (`keyring.fields("card")`), while they are in Redis.
        sanitize: what of a payload the log may show: a function of it, or `Allow("order_id", "customer.id")`.
        on_failed: an event of the same herd whose payload is a `Failure`: emitted when this one has failed for good.
        schedules: by name, what emits it at certain times; the workers that process it keep them as declared.
    """

    concurrency: int
    retry: Retry
    timeout: Seconds | None
    expires: Seconds | None
    lock: Seconds
    max_stalls: int
    keep: Keep
    max_payload: int
    queue: str | None
    shards: int
    key: Callable[[P], object] | None
    ordered: bool
    once: Seconds | None
    unique: Unique | Debounce | None
    rate: Rate | None
    max_running: int | None
    per_key: PerKey | None
    durable: bool
    seal: Keyring | Sealing | None
    sanitize: Callable[[P], Any] | Allow | None
    on_failed: RelayTarget | None
    schedules: Mapping[str, Schedule[P]]


class EventOptions(DeclareOptions[Any], total=False):
    """The options of `Oxherd.event`: those of DeclareOptions, and how its handler runs.

    Attributes:
        run_in: for a `def`, "thread" (the default) or "process"; an `async def` runs in the event loop.
            A `Process(max_events=..., max_memory=...)` is "process" with limits of each process's life.
    """

    run_in: RunIn | Process | None


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared event; `timeout` and `lock` are in seconds, `max_payload` in bytes, `options` BullMQ's."""

    name: str
    queue: str
    payload: PayloadType[Any]
    result: ResultType
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
    expires_ms: int
    options: dict[str, Any] = field(repr=False)
    on_failed: RelayTarget | None = None
    unique: Unique | Debounce | None = None
    limits: Limits = NO_LIMITS
    schedules: dict[str, DeclaredSchedule] = field(default_factory=dict[str, DeclaredSchedule], repr=False)
    _expiring: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]], init=False, repr=False)

    @property
    def own_queue(self) -> bool:
        """Whether the event has a queue of its own, `{name}`."""
        return self.queue == f"{{{self.name}}}"

    def scheduler_id(self, schedule: str) -> str:
        """BullMQ's id of a schedule: events that share a queue must not share ids."""
        return schedule if self.own_queue else f"{self.name}/{schedule}"

    @property
    def lock_ms(self) -> int:
        """The lock in milliseconds."""
        return max(1, round(self.lock * 1000))

    def options_expiring(self, expires_ms: int) -> dict[str, Any]:
        """BullMQ's options of an emit that expires after so long (0: never); the same object each time."""
        if expires_ms == self.expires_ms:
            return self.options
        options = self._expiring.get(expires_ms)
        if options is None:
            if len(self._expiring) >= _MAX_EXPIRIES:
                self._expiring.clear()
            options = self._expiring[expires_ms] = with_expiry(self.options, expires_ms)
        return options


def declare(name: str, payload: Any, options: DeclareOptions[Any], prefix: str, result: Any = Any) -> Declaration:
    """Validate the options but for `sanitize`, which is the caller's; raises DeclarationError.

    What is sealed is bound to `prefix`, the herd's.
    """
    check_name(name)
    check_options(name, options, DeclareOptions.__optional_keys__)
    given = options.get
    queue, key, retry, keep = given("queue"), given("key"), given("retry", Retry()), given("keep", Keep())
    shards, ordered = given("shards", 1), given("ordered", False)
    timeout, expires_ms = given("timeout"), expires_to_ms(name, given("expires"))
    max_payload: int | None = None
    if "max_payload" in options:
        max_payload = whole_number(options["max_payload"], f"{name}: max_payload", least=1, most=MOST_PAYLOAD)
    whole_number(shards, f"{name}: shards", least=1, most=MAX_SHARDS)
    _check_order(name, queue, shards, key, ordered)
    for what, value, kind in (("retry", retry, Retry), ("keep", keep, Keep)):
        if not isinstance(value, kind):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"{name}: {what} must be a {kind.__name__}(...).")
    typed = payload_type(payload, name, max_payload, given("seal"), prefix)
    return Declaration(
        name=name,
        queue=f"{{{name}}}" if queue is None else _queue_name(name, queue),
        payload=typed,
        result=ResultType(result, name, given("seal"), prefix),
        concurrency=whole_number(given("concurrency", 10), f"{name}: concurrency", least=1),
        retry=retry,
        timeout=None if timeout is None else seconds(timeout, f"{name}: timeout", least=0.001),
        lock=seconds(given("lock", 30), f"{name}: lock", least=0.1),
        max_stalls=whole_number(given("max_stalls", 1), f"{name}: max_stalls", least=0),
        keep=keep,
        max_payload=typed.max_payload,
        shards=shards,
        key=key,
        ordered=ordered,
        once_ms=once_to_ms(name, given("once")),
        durable=boolean(given("durable", False), f"{name}: durable"),
        expires_ms=expires_ms,
        options=with_expiry({**retry.options, **keep.options}, expires_ms),
        on_failed=_takes_failures(name, given("on_failed")),
        unique=check_unique(name, given("unique"), key, shards, ordered, expires_ms),
        limits=_limits(name, options),
        schedules=_schedules(name, given("schedules"), typed),
    )


def _limits(event: str, options: DeclareOptions[Any]) -> Limits:
    given = options.get
    limits = Limits(given("rate"), given("max_running"), given("per_key"))
    ordered, own_queue = given("ordered", False), given("queue") is None
    return check_limits(
        event, limits, key=given("key"), shards=given("shards", 1), ordered=ordered, own_queue=own_queue
    )


def _schedules(event: str, given: Any, typed: PayloadType[Any]) -> dict[str, DeclaredSchedule]:
    schedules = declared_schedules(event, given, typed)
    if schedules and isinstance(typed, FailureType):
        raise DeclarationError(f"{event}: a Failure has no schedule; schedule an event of another payload.")
    for name in schedules:
        check_name(name, "schedule")
    return schedules


def _takes_failures(name: str, on_failed: Any) -> RelayTarget | None:
    """Refuse what takes no failures; that it is of the same herd is the herd's to check."""
    if on_failed is None:
        return None
    declaration = getattr(on_failed, "declaration", None)
    if not isinstance(declaration, Declaration):
        raise DeclarationError(
            f"{name}: on_failed must be an event of the same herd whose payload is a Failure, and is of the type "
            f"{type(on_failed).__name__}; declare that event first, and pass what @herd.event(...) made of its handler."
        )
    if not isinstance(declaration.payload, FailureType):
        raise DeclarationError(
            f"{name}: on_failed is the event {declaration.name}, whose payload is no Failure; annotate its handler's "
            "first parameter with Failure."
        )
    return on_failed


def check_result(name: str, result: Any) -> None:
    """Refuse what is no type: DeclarationError."""
    try:
        TypeAdapter(result)
    except Exception as error:
        raise DeclarationError(f"{name}: result must be a type that pydantic can validate.") from error


def check_options(name: str, given: Iterable[str], known: frozenset[str]) -> None:
    """Refuse unknown options: a DeclarationError names the nearest known one."""
    for option in given:
        if option not in known:
            hint = did_you_mean(option, known, f"the options are {', '.join(sorted(known))}.")
            raise DeclarationError(f"{name}: there is no option {option!r}; {hint}")


def _check_order(name: str, queue: str | None, shards: int, key: Callable[[Any], object] | None, ordered: bool) -> None:
    boolean(ordered, f"{name}: ordered")
    if key is not None:
        check_key_function(f"{name}: key", key)
    if queue is not None and (shards > 1 or ordered):
        raise DeclarationError(f"{name}: shards and ordered are for an event with a queue of its own; leave queue out.")
    if ordered and shards > 1 and key is None:
        raise DeclarationError(f"{name}: an ordered event with several shards needs key=, what its order is kept for.")


def check_name(name: str, what: str = "event") -> str:
    """Return `name`; raises DeclarationError if it is not a valid name."""
    if not isinstance(name, str) or not is_name(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"{str(name)[:140]!r} is no {what} name: "
            "it is a letter or digit, then up to 127 of letters, digits, '.', '_', '-'."
        )
    return name


def is_name(text: str) -> bool:
    """Whether an event may have this name."""
    return _NAME.match(text) is not None


def key_of(declaration: Declaration, payload: Any) -> bytes | None:
    """A payload's key, as bytes; None if the event has no key function, or that returns None.

    Raises:
        UsageError: the function raised, or returned something else than a str, int, UUID or bytes.
    """
    if declaration.key is None:
        return None
    return _key_bytes(declaration, "key", declaration.key, payload, optional=not declaration.ordered)


def unique_key_of(declaration: Declaration, payload: Any) -> UniqueKey | None:
    """What an event with that payload is unique by; None if nothing is declared. Raises as `key_of`."""
    unique = declaration.unique
    if unique is None:
        return None
    by, what = (declaration.key, "key") if unique.by is None else (unique.by, "by")
    key = None if by is None else _key_bytes(declaration, what, by, payload, optional=True)
    return unique_key(declaration.name, key, unique.rule)


def limit_key_of(declaration: Declaration, payload: Any) -> str | None:
    """What the limits of a payload's key go by, "" if it has none; None if nothing is declared. Raises as `key_of`."""
    if declaration.limits.per_key is None:
        return None
    return limit_key(declaration.name, key_of(declaration, payload))


def key_bytes(value: object) -> bytes | None:
    """A key as it is hashed; None if it is no str, int, UUID or bytes."""
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8", "surrogatepass") if isinstance(value, str | int | UUID) else None


def _key_bytes(
    declaration: Declaration, what: str, function: Callable[[Any], object], payload: Any, *, optional: bool
) -> bytes | None:
    try:
        value = function(payload)
    except BaseException as error:
        if is_interrupt(error):
            raise
        why = f"raised {type(error).__name__}"
    else:
        key = key_bytes(value)
        if key is not None or (value is None and optional):
            return key
        why = f"returned a {type(value).__name__}"
    raise UsageError(f"{declaration.name}: its {what} function {why}; let it return a str, int, UUID or bytes.")


def once_to_ms(name: str, once: Seconds | None) -> int:
    """`once` of an event or an emit, in milliseconds; 0 if not set.

    Raises:
        DeclarationError: it is not a number or a timedelta of at most a century.
    """
    return 0 if once is None else math.ceil(seconds(once, f"{name}: once") * 1000)


def expires_to_ms(name: str, expires: Seconds | None) -> int:
    """`expires` of an event or an emit, in milliseconds; 0 if it never does.

    Raises:
        DeclarationError: it is neither 0, nor a number or a timedelta from a millisecond to a century.
    """
    if expires is None:
        return 0
    given = seconds(expires, f"{name}: expires")
    return math.ceil(seconds(expires, f"{name}: expires", least=0.001) * 1000) if given else 0


def check_priority(priority: int) -> int:
    """Return a priority that BullMQ takes: 0 (none, served first) to 2,097,151; raises DeclarationError."""
    return whole_number(priority, "priority", least=0, most=_MAX_PRIORITY)


def _queue_name(event: str, queue: str) -> str:
    if not isinstance(queue, str) or not queue or ":" in queue or len(queue) > 512:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{event}: queue must be the name of a BullMQ queue, without ':'.")
    return text(queue, f"{event}: queue")
