"""What may go wrong with an event before a handler has its payload: in the caller, in Redis, in the worker."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

from pydantic_core import from_json, to_json

from oxherd.context import Context
from oxherd.event import Event
from oxherd.schedule.every import Every
from oxherd.testing.canaries import stored
from oxherd.testing.failures import Run, Unwritable
from oxherd.testing.renderings import words
from oxherd.testing.stage import Stage

_MOST: Final = 25
_NOWHERE: Final = "unix:///nonexistent/oxherd-leaks"
_TINY: Final = 3  # bytes that no payload with a canary has


async def _nothing(_: Any, __: Context) -> None:
    pass


def _misfits(stage: Stage) -> list[Any]:
    """The payload as JSON values that its type refuses: each canary where another type is wanted."""
    payload_type = stage.of.declaration.payload
    return [value for value in _changed(stage) if stored(payload_type, value) is None][:_MOST]


def _changed(stage: Stage) -> Iterator[Any]:
    raw = stage.planted.raw
    for canary in stage.planted.canaries:
        for wrap in (_as_key, _as_list):
            box = [from_json(raw)]
            parent: Any = box
            place = (0, *canary.place)
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = wrap(parent[place[-1]])
            yield box[0]
    yield raw.decode()
    yield [[from_json(raw)]]


def _as_key(value: Any) -> Any:
    return {str(value): [value]}


def _as_list(value: Any) -> Any:
    return [[value], value]


async def refused_to_the_caller(stage: Stage) -> None:
    """Each way in, with what does not fit."""
    event = stage.event(_nothing)

    async def read(raw: bytes) -> None:
        # What `oxherd emit` does with its argument.
        event.declaration.payload.decode(raw)

    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [partial(read, stage.planted.raw[:-1])]
    for value in _misfits(stage):
        calls += [
            partial(event.emit, value),
            partial(event.emit_many, [value]),
            partial(event.schedule, "leaks", Every(3_600), value),
            partial(read, to_json(value)),
        ]
    await stage.called(event, *calls)


async def refused_by_its_size(stage: Stage) -> None:
    """`max_payload`."""
    payload_type = copy.copy(stage.of.declaration.payload)
    payload_type.max_payload = _TINY
    event = stage.event(_nothing, payload=payload_type)
    await stage.called(event, lambda: event.emit(stage.payload()))


async def refused_by_its_key(stage: Stage) -> None:
    """A key function that raises, or answers what is no key."""
    texts = words(stage.payload(), stage.planted.raw)

    def raises(_: Any) -> Any:
        raise ValueError(texts[0])

    def answers(_: Any) -> Any:
        return Unwritable(texts[0])

    for key in (raises, answers):
        event = stage.event(_nothing, shards=2, key=key)
        await stage.called(event, lambda event=event: event.emit(stage.payload()))


async def not_acknowledged(stage: Stage) -> None:
    """A server that is not there."""
    event: Event[Any, Any] = stage.event(_nothing, url=_NOWHERE)
    await stage.called(
        event,
        lambda: event.emit(stage.payload()),
        lambda: event.emit_many([stage.payload()]),
        lambda: event.schedule("leaks", Every(3_600), stage.payload()),
    )


async def refused_by_the_worker(stage: Stage) -> None:
    """As another program may have stored it."""
    sealer = stage.of.declaration.payload.sealer
    data = [sealer.seal(to_json(value)) for value in _misfits(stage)]
    if data:
        await stage.process(stage.event(_nothing), data=data)


async def damaged(stage: Stage) -> None:
    """Stored, and no JSON; or sealed, and changed."""
    raw = stage.planted.raw
    data = [raw[:-1] + b"~", b"~" + raw]
    sealed = stage.of.declaration.payload.sealer.seal(raw)
    if sealed != raw:
        data.append(sealed.replace(b'"v1.', b'"v0.'))
    await stage.process(stage.event(_nothing), data=data)


async def not_shown(stage: Stage) -> None:
    """A sanitiser that fails with the payload in what it raises, or answers."""
    text = words(stage.payload(), stage.planted.raw)[0]

    def raises(_: Any) -> Any:
        raise ValueError(text)

    await stage.process(stage.event(_nothing, sanitize=raises))


async def scheduled(stage: Stage) -> None:
    """A schedule's payload."""
    event = stage.event(_nothing)
    await stage.stored_by(event, lambda: event.schedule("leaks", Every(3_600), stage.payload()))


REFUSALS: Final = (
    Run("a payload that does not fit is emitted", refused_to_the_caller),
    Run("a payload that is too large is emitted", refused_by_its_size),
    Run("its server does not answer an emit", not_acknowledged),
    Run("a payload that does not fit comes to its worker", refused_by_the_worker, stores_plain=True),
    Run("a damaged payload comes to its worker", damaged, stores_plain=True),
    Run("its sanitiser raises an error that quotes the payload", not_shown),
    Run("it is scheduled", scheduled),
)
# For an event with a queue of its own, which may have shards.
BY_KEY: Final = Run("its key function fails with the payload in its error", refused_by_its_key)
