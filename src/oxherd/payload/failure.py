"""What an event with `on_failed=` tells of its failure: a `Failure`, and the payload type of the events that take one.

A Failure carries the failed event's payload as that was stored: what was sealed stays sealed, for that event.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast, get_args, get_origin
from uuid import UUID

from pydantic_core import from_json, to_json

from oxherd.errors import DeclarationError, InvalidPayload, UsageError
from oxherd.payload.keyring import Keyring, Sealing
from oxherd.payload.payload_type import PayloadType
from oxherd.payload.surrogates import replace_lone_surrogates

P = TypeVar("P")

# Of the JSON: the payload as it was stored, where opening it has changed it.
_STORED: Final = "stored"
_FIELDS: Final = frozenset({
    "event", "id", "payload", "error", "type", "message", "attempts", "caused_by", "root", "failed_at", "failed_ms",
    "shard", "job", _STORED,
})  # fmt: skip


class EventError(NamedTuple):
    """What failed an event: the error's type, "" if another program did, and its message, redacted as the log is."""

    type: str
    message: str

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type else self.message


@dataclass(frozen=True, slots=True)
class FailedJob:
    """Where a failed event was stored: its job's id, its shard, and its payload as it was stored."""

    id: str
    shard: int
    data: bytes
    caused_by: str | None
    root: str | None


@dataclass(frozen=True, kw_only=True)
class Failure(Generic[P]):
    """An event that has failed for good: the payload of the event that is its `on_failed`.

    Attributes:
        event: the failed event's name; `id` is its UUID.
        payload: its payload, typed and opened if this process declares the event on the same herd and can read it; else
            the JSON that was stored.
        error: the type and the message of what it failed with.
        attempts: how often its handler was tried; 0 if it failed without a run.
        caused_by: the UUID of the event whose handler emitted it; None if no handler did.
        root: the UUID of the first event in its chain of causes; its own if no event caused it.
        failed_at: when it failed, by its worker's clock, as an aware datetime.
        typed: whether `payload` is of its event's type, and not just JSON.
    """

    event: str
    id: UUID
    payload: P = field(repr=False)
    error: EventError
    attempts: int
    caused_by: UUID | None = None
    root: UUID
    failed_at: datetime
    typed: bool = field(default=True, repr=False)
    _job: FailedJob | None = field(default=None, repr=False, compare=False)
    _source: FailureSource | None = field(default=None, repr=False, compare=False)

    async def send_back(self) -> bool:
        """Put the failed event back on its queue; its attempts are counted anew.

        One that is no longer kept among the failed is emitted again, under the same id and with the same payload.
        Returns False if there is nothing to do: it was put back already, or it is running or completed.

        Raises:
            UsageError: the event is not declared on this herd in this process.
            EmitError: Redis did not acknowledge it in time.

        Redis: script reprocessJob; if the job is gone, as `Event.emit`.
        """
        source, job = self._bound("send_back")
        return await source.sent_back.send_back(job)

    def send_back_sync(self) -> bool:
        """`send_back` for a `def` handler, or other code without an event loop.

        Raises:
            UsageError: an event loop runs in this thread, or as `send_back`.
        """
        source, job = self._bound("send_back_sync")
        return source.sent_back.send_back_sync(job)

    def _bound(self, call: str) -> tuple[FailureSource, FailedJob]:
        if self._job is None:
            raise UsageError(f"failure.{call}() is for a Failure that a handler was given; this one was made by hand.")
        if self._source is None:
            raise UsageError(
                f"{self.event} is not declared on this herd in this process and cannot be sent back; import its module."
            )
        return self._source, self._job


class SendsBack(Protocol):
    """Puts an event's failed jobs back on their queues."""

    async def send_back(self, failed: FailedJob) -> bool:
        """Whether there was something to do."""
        ...

    def send_back_sync(self, failed: FailedJob) -> bool:
        """`send_back` for code without an event loop."""
        ...


class FailureSource(NamedTuple):
    """An event whose failures are told: its payload's type, what shows its payloads, and how one is sent back."""

    payload: PayloadType[Any]
    sanitizer: Callable[[], Any]
    sent_back: SendsBack


class FailureType(PayloadType[Any]):
    """The payload type of an event that takes failures; `sources` are the events that name it as their `on_failed`.

    Raises:
        DeclarationError: it has a `seal` of its own.
    """

    def __init__(self, annotation: Any, event: str, max_payload: int, seal: Any, prefix: str) -> None:
        if seal is not None:
            raise DeclarationError(
                f"{event}: a Failure is sealed as the event that failed is; leave seal out here, and seal that event."
            )
        super().__init__(dict[str, Any], event, max_payload, None, prefix)
        self.annotation = annotation
        self.field_names = _FIELDS
        self.sources: dict[str, FailureSource] = {}

    def add_source(self, event: str, source: FailureSource) -> None:
        """Read the failures of one more event."""
        self.sources[event] = source
        self.field_names |= source.payload.field_names

    def load_keys(self) -> None:
        """Read the keys of every source now."""
        for source in self.sources.values():
            source.payload.load_keys()

    def encode(self, value: Any) -> bytes:  # noqa: ARG002 - as the base's
        """Refuse an emit by hand: UsageError."""
        raise UsageError(
            f"{self.event}: a Failure is emitted when an event with on_failed= has failed, never by hand; to test the "
            "handler, call it."
        )

    def open(self, raw: bytes) -> bytes:
        """The Failure's JSON, its payload opened as that of its event; left as it is if it does not open here."""
        if b"\\u" in raw:
            raw = replace_lone_surrogates(raw)
        found = self._read_object(raw)
        source = self.sources.get(str(found.get("event")))
        if source is None:
            return raw
        stored = to_json(found.get("payload"), inf_nan_mode="constants")
        try:
            opened = source.payload.open(stored)
        except InvalidPayload:
            return raw
        if opened == stored:
            return raw
        found["payload"], found[_STORED] = from_json(opened), found["payload"]
        return to_json(found, inf_nan_mode="constants")

    def decode(self, raw: bytes | str) -> Failure[Any]:
        """Read a Failure from opened JSON; raises InvalidPayload if it is none."""
        found = self._read_object(raw)
        try:
            return self._failure(found)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            pass
        raise self._no_failure()

    def _failure(self, found: dict[str, Any]) -> Failure[Any]:
        source = self.sources.get(found["event"])
        caused_by, error = found["caused_by"], found["error"]
        job = FailedJob(
            id=str(found.get("job", found["id"])),
            shard=int(found.get("shard", 0)),
            data=to_json(found.get(_STORED, found["payload"]), inf_nan_mode="constants"),
            caused_by=caused_by,
            root=found["root"] if caused_by is not None else None,
        )
        payload, typed = _typed(source, found["payload"])
        return Failure(
            event=str(found["event"]),
            id=UUID(found["id"]),
            payload=payload,
            error=EventError(str(error["type"]), str(error["message"])),
            attempts=int(found["attempts"]),
            caused_by=None if caused_by is None else UUID(caused_by),
            root=UUID(found["root"]),
            failed_at=datetime.fromtimestamp(found["failed_ms"] / 1000, UTC),
            typed=typed,
            _job=job,
            _source=source,
        )

    def _read_object(self, raw: bytes | str) -> dict[str, Any]:
        try:
            found: Any = _read(raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_failure()
        return cast("dict[str, Any]", found)

    def _no_failure(self) -> InvalidPayload:
        return InvalidPayload(f"{self.event}: the payload is no Failure: only an event's on_failed= emits one")


def _typed(source: FailureSource | None, payload: Any) -> tuple[Any, bool]:
    """The payload as its event's type, and True; as it is, and False, where it cannot be read so."""
    if source is None:
        return payload, False
    try:
        return source.payload.decode(to_json(payload, inf_nan_mode="constants")), True
    except InvalidPayload:
        return payload, False


def failure_json(
    *,
    event: str,
    event_id: str,
    data: bytes,
    error: EventError,
    attempts: int,
    caused_by: str | None,
    root: str,
    failed_ms: int,
    shard: int,
    job_id: str,
) -> bytes:
    """The JSON of a Failure, as it is stored; `data` is the payload as it was stored, null if that is no JSON."""
    about: dict[str, Any] = {
        "event": event,
        "id": event_id,
        "error": {"type": error.type, "message": error.message},
        "attempts": attempts,
        "caused_by": caused_by,
        "root": root,
        "failed_ms": failed_ms,
    }
    if shard:
        about["shard"] = shard
    if job_id != event_id:
        about["job"] = job_id
    return to_json(about)[:-1] + b',"payload":%s}' % (data if _is_json(data) else b"null")


def _is_json(data: bytes) -> bool:
    try:
        _read(replace_lone_surrogates(data) if b"\\u" in data else data)
    except ValueError:
        return False
    return True


def _read(raw: bytes | str) -> Any:
    """Read JSON that may be nested deeper than a payload, which is a part of it. Raises ValueError."""
    try:
        return from_json(raw)
    except ValueError:
        try:
            return json.loads(raw)
        except RecursionError:
            raise ValueError("nested too deep") from None


def is_failure(annotation: Any) -> bool:
    """Whether an annotation means Failure: also with a payload's type, by another name, or with metadata."""
    if hasattr(annotation, "__value__"):  # a `type` statement's
        return is_failure(annotation.__value__)
    if get_origin(annotation) is Annotated:
        return is_failure(get_args(annotation)[0])
    return annotation is Failure or get_origin(annotation) is Failure


def payload_type(
    annotation: Any, event: str, max_payload: int | None, seal: Keyring | Sealing | None, prefix: str
) -> PayloadType[Any]:
    """The payload type of an annotation; `max_payload` None: a mebibyte, and for a Failure no limit.

    Raises:
        DeclarationError: as PayloadType and FailureType.
    """
    if is_failure(annotation):
        # Its event's payload was within that event's limit, and what is added is small.
        return FailureType(annotation, event, MOST_PAYLOAD if max_payload is None else max_payload, seal, prefix)
    return PayloadType(annotation, event, MEBIBYTE if max_payload is None else max_payload, seal, prefix)


MEBIBYTE: Final = 1024 * 1024
MOST_PAYLOAD: Final = 512 * 1024 * 1024  # Redis' proto-max-bulk-len
