"""`captured`: keeps a herd's emits instead of sending them, and asserts what was emitted."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

from oxherd.app import Oxherd
from oxherd.bullmq.answers import JobEnd
from oxherd.bullmq.job import NewJob
from oxherd.declaration import Declaration
from oxherd.errors import UsageError, did_you_mean
from oxherd.event import Event
from oxherd.policy import EXPIRES
from oxherd.producer.delivery import Delivery
from oxherd.producer.sync_portal import refuse_in_event_loop
from oxherd.schedule import When

P = TypeVar("P")


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"


_ABSENT = _Absent()
_LISTED = 20  # emits that a failed assertion shows
_LONGEST = 60  # characters of a value there


@dataclass(frozen=True, slots=True)
class CapturedEmit:
    """One emit: the payload as a handler would get it, and how it was to be sent."""

    event: str
    id: UUID
    payload: Any
    delay: timedelta
    priority: int
    at: datetime | None = None
    expires: timedelta | None = None


@dataclass(frozen=True, slots=True)
class CapturedSchedule:
    """A schedule, and the payload of its ticks."""

    schedule: When
    payload: Any


class Captured(Delivery):
    """What was emitted and scheduled while `captured` held.

    Attributes:
        emits: every emit, in order.
        cancelled: why events were cancelled, by id.
        schedules: the schedules that have not been ended, by the event's and the schedule's name.
    """

    def __init__(self) -> None:
        self.emits: list[CapturedEmit] = []
        self.cancelled: dict[UUID, str] = {}
        self.schedules: dict[tuple[str, str], CapturedSchedule] = {}
        self._lock = threading.Lock()

    def of(self, event: Event[P, Any]) -> list[P]:
        """Return the payloads emitted to an event, in order."""
        return [emit.payload for emit in self.emits if emit.event == event.name]

    def assert_emitted(self, event: Event[Any, Any], payload: object = _ABSENT, /, **fields: object) -> CapturedEmit:
        """Return the first emit to `event` with this payload (if given) and these values of its fields.

        Raises:
            AssertionError: there is none; it shows what was emitted instead, and the fields that differ.
            UsageError: the payload's type has no such field.
        """
        __tracebackhide__ = True  # by pytest
        _check_fields(event, fields)
        for emit in self.emits:
            if emit.event == event.name and not _differences(emit.payload, payload, fields):
                return emit
        raise AssertionError(
            f"{_wanted(event, payload, fields)} was not emitted; {self._instead(event, payload, fields)}"
        )

    def assert_not_emitted(self, event: Event[Any, Any] | None = None, /, **fields: object) -> None:
        """Check that nothing was emitted: to `event` with these values of its fields, or, without an event, at all.

        Raises:
            AssertionError: something was; it shows what.
            UsageError: the payload's type has no such field.
        """
        __tracebackhide__ = True
        if event is not None:
            _check_fields(event, fields)
        found = [
            emit
            for emit in self.emits
            if event is None or (emit.event == event.name and not _differences(emit.payload, _ABSENT, fields))
        ]
        if found:
            what = "An event" if event is None else _wanted(event, _ABSENT, fields)
            raise AssertionError(f"{what} was emitted:\n{_table(found)}")

    def _instead(self, event: Event[Any, Any], payload: object, fields: Mapping[str, object]) -> str:
        same = [emit for emit in self.emits if emit.event == event.name]
        if not same:
            return f"emitted were:\n{_table(self.emits)}" if self.emits else "nothing was."
        rows: list[str] = [f"{event.name} was emitted {_times(len(same))}:"]
        for number, emit in enumerate(same[:_LISTED], start=1):
            different = _differences(emit.payload, payload, fields)
            width = max(len(name) for name in different)
            rows.append(f"  {number}. differs in {_count(len(different), 'field')}:")
            rows += [f"     {name:<{width}}  {_not(found, wanted)}" for name, (found, wanted) in different.items()]
        return "\n".join([*rows, *_more(len(same))])

    # -- Delivery

    def end_of(self, job_id: str) -> JobEnd:
        for event_id, reason in self.cancelled.items():
            if str(event_id) == job_id:
                return JobEnd(False, reason.encode(), "cancelled")
        raise UsageError("captured(herd) processes nothing, so there is no result; emit under inline(herd) to get one.")

    def cancel(self, job_id: str, reason: str) -> bool:
        with self._lock:
            found = next((emit.id for emit in self.emits if str(emit.id) == job_id), None)
            if found is None or found in self.cancelled:
                return False
            self.cancelled[found] = reason
        return True

    async def deliver(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        self.keep(declaration, jobs)

    def deliver_sync(self, declaration: Declaration, jobs: list[NewJob], call: str) -> None:
        refuse_in_event_loop(call)
        self.keep(declaration, jobs)

    def schedule(self, declaration: Declaration, name: str, schedule: When | None, data: bytes) -> bool:
        with self._lock:
            before = self.schedules.pop((declaration.name, name), None)
            if schedule is not None:
                payload = _stored(declaration, data)
                self.schedules[declaration.name, name] = CapturedSchedule(schedule, payload)
        return before is not None

    def keep(self, declaration: Declaration, jobs: list[NewJob]) -> None:
        """Keep jobs of one event."""
        emits = [captured_emit(declaration, job) for job in jobs]
        with self._lock:
            self.emits += emits


@contextmanager
def captured(herd: Oxherd) -> Generator[Captured]:
    """Keep what `herd` emits instead of sending it: from any thread, `emit_sync` and handlers included.

    Payloads are validated as by an emit, and their handlers do not run. No emit is a duplicate of another. Nothing
    connects to a server: neither does the herd's start, so that an application's start-up processes nothing.

    Raises:
        UsageError: the herd's emits are captured or run inline already.
    """
    kept = Captured()
    with delivering(herd, kept):
        yield kept


@contextmanager
def delivering(herd: Oxherd, delivery: Delivery) -> Generator[None]:
    """Take a herd's emits by `delivery` meanwhile."""
    if not isinstance(herd, Oxherd):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("captured and inline take a herd; pass the Oxherd that declares the events.")
    if herd.delivery is not None:
        raise UsageError("This herd's emits are captured or run inline already; end that first.")
    herd.delivery = delivery
    try:
        yield
    finally:
        herd.delivery = None


def captured_emit(declaration: Declaration, job: NewJob) -> CapturedEmit:
    """An emit, with its payload read back from what would have been stored."""
    payload = _stored(declaration, job.data)
    at = datetime.fromtimestamp(job.due_ms / 1000, UTC) if job.due_ms else None
    expires_ms = job.options.get(EXPIRES)
    expires = timedelta(milliseconds=expires_ms) if expires_ms else None
    return CapturedEmit(
        job.name, UUID(job.id), payload, timedelta(milliseconds=job.delay_ms), job.priority, at, expires
    )


def _stored(declaration: Declaration, data: bytes) -> Any:
    return declaration.payload.decode(declaration.payload.open(data))


def _fields(payload: object) -> dict[str, Any]:
    if isinstance(payload, Mapping):
        return {str(key): value for key, value in cast("Mapping[object, Any]", payload).items()}
    names: Any = getattr(type(payload), "model_fields", None) or getattr(payload, "__dataclass_fields__", ())
    return {name: getattr(payload, name) for name in names}


def _check_fields(event: Event[Any, Any], fields: Mapping[str, object]) -> None:
    if not isinstance(event, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("assert_emitted and assert_not_emitted take an event, such as herd['order.placed'], first.")
    known = event.declaration.payload.field_names
    for name in fields:
        if known and name not in known:
            hint = did_you_mean(name, known, f"its fields are {', '.join(sorted(known))}.")
            raise UsageError(f"{event.name}: its payload has no field {name!r}; {hint}")


def _differences(payload: object, wanted: object, fields: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What differs, by field: (found, wanted)."""
    found = _fields(payload)
    expected = dict(fields)
    if wanted is not _ABSENT and payload != wanted:
        as_fields = _fields(wanted)
        if not found or not as_fields:
            return {"payload": (payload, wanted)}
        expected = as_fields | expected
        if isinstance(payload, Mapping) and isinstance(wanted, Mapping):
            expected = dict.fromkeys(found, _ABSENT) | expected
    return {
        name: (found.get(name, _ABSENT), value)
        for name, value in expected.items()
        if name not in found or found[name] != value
    }


def _wanted(event: Event[Any, Any], payload: object, fields: Mapping[str, object]) -> str:
    parts = [] if payload is _ABSENT else [_short(payload)]
    parts += [f"{name}={_short(value)}" for name, value in fields.items()]
    return f"{event.name}({', '.join(parts)})" if parts else event.name


def _table(emits: list[CapturedEmit]) -> str:
    width = max(len(emit.event) for emit in emits[:_LISTED])
    rows = [
        f"  {number}. {emit.event:<{width}}  {_short(emit.payload, 2 * _LONGEST)}"
        for number, emit in enumerate(emits[:_LISTED], start=1)
    ]
    return "\n".join([*rows, *_more(len(emits))])


def _more(number: int) -> list[str]:
    return [f"  ... and {number - _LISTED} more"] if number > _LISTED else []


def _short(value: object, longest: int = _LONGEST) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _not(found: object, wanted: object) -> str:
    """Both values, long ones from shortly before where their texts differ."""
    texts = repr(found), repr(wanted)
    if texts[0] == texts[1]:
        return f"another {_short(found)} than wanted"
    same = next((at for at, (one, other) in enumerate(zip(*texts, strict=False)) if one != other), min(map(len, texts)))
    start = max(0, same - _LONGEST // 3) if max(map(len, texts)) > _LONGEST else 0
    return ", not ".join(_cut(text, start) for text in texts)


def _cut(text: str, start: int) -> str:
    end = start + _LONGEST - 3
    return f"{'...' if start else ''}{text[start:end]}{'...' if len(text) > end else ''}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
