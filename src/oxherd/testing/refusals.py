"""Scenarios in which an event fails before its handler runs: in the caller, in Redis, in the worker."""

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
from oxherd.testing.handler_failures import Scenario, Unwritable
from oxherd.testing.probe import LeakProbe
from oxherd.testing.renderings import renderings

_MOST: Final = 25
_NOWHERE: Final = "unix:///nonexistent/oxherd-leaks"
_TINY: Final = 3  # bytes, fewer than any payload with a canary has


async def _nothing(_: Any, __: Context) -> None:
    pass


def _invalid_values(probe: LeakProbe) -> list[Any]:
    """Variants of the payload that its type refuses: each has a canary where another type is expected."""
    payload_type = probe.original.declaration.payload
    return [value for value in _changed(probe) if stored(payload_type, value) is None][:_MOST]


def _changed(probe: LeakProbe) -> Iterator[Any]:
    raw = probe.planted.raw
    for canary in probe.planted.canaries:
        for wrap in (_as_key, _as_list):
            box = [from_json(raw)]
            parent: Any = box
            keys = (0, *canary.keys)
            for key in keys[:-1]:
                parent = parent[key]
            parent[keys[-1]] = wrap(parent[keys[-1]])
            yield box[0]
    yield raw.decode()
    yield [[from_json(raw)]]


def _as_key(value: Any) -> Any:
    return {str(value): [value]}


def _as_list(value: Any) -> Any:
    return [[value], value]


async def refused_to_the_caller(probe: LeakProbe) -> None:
    """An invalid payload is emitted, scheduled and decoded."""
    event = probe.event(_nothing)

    async def read(raw: bytes) -> None:
        # As `oxherd emit` decodes its argument.
        event.declaration.payload.decode(raw)

    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [partial(read, probe.planted.raw[:-1])]
    for value in _invalid_values(probe):
        calls += [
            partial(event.emit, value),
            partial(event.emit_many, [value]),
            partial(event.schedule, "leaks", Every(3_600), value),
            partial(read, to_json(value)),
        ]
    await probe.observe_errors(event, *calls)


async def refused_by_its_size(probe: LeakProbe) -> None:
    """A payload larger than `max_payload` is emitted."""
    payload_type = copy.copy(probe.original.declaration.payload)
    payload_type.max_payload = _TINY
    event = probe.event(_nothing, payload=payload_type)
    await probe.observe_errors(event, lambda: event.emit(probe.payload()))


async def refused_by_its_key(probe: LeakProbe) -> None:
    """The key function raises, or returns something that is not a key."""
    texts = renderings(probe.payload(), probe.planted.raw)

    def raises(_: Any) -> Any:
        raise ValueError(texts[0])

    def answers(_: Any) -> Any:
        return Unwritable(texts[0])

    for key in (raises, answers):
        event = probe.event(_nothing, shards=2, key=key)
        await probe.observe_errors(event, lambda event=event: event.emit(probe.payload()))


async def not_acknowledged(probe: LeakProbe) -> None:
    """The server is down."""
    event: Event[Any, Any] = probe.event(_nothing, url=_NOWHERE)
    await probe.observe_errors(
        event,
        lambda: event.emit(probe.payload()),
        lambda: event.emit_many([probe.payload()]),
        lambda: event.schedule("leaks", Every(3_600), probe.payload()),
    )


async def refused_by_the_worker(probe: LeakProbe) -> None:
    """An invalid payload is stored, as by another program."""
    sealer = probe.original.declaration.payload.sealer
    data = [sealer.seal(to_json(value)) for value in _invalid_values(probe)]
    if data:
        await probe.process(probe.event(_nothing), data=data)


async def damaged(probe: LeakProbe) -> None:
    """A stored payload is not JSON, or its seal is damaged."""
    raw = probe.planted.raw
    data = [raw[:-1] + b"~", b"~" + raw]
    sealed = probe.original.declaration.payload.sealer.seal(raw)
    if sealed != raw:
        data.append(sealed.replace(b'"v1.', b'"v0.'))
    await probe.process(probe.event(_nothing), data=data)


async def not_shown(probe: LeakProbe) -> None:
    """The sanitiser raises an error with the payload."""
    text = renderings(probe.payload(), probe.planted.raw)[0]

    def raises(_: Any) -> Any:
        raise ValueError(text)

    await probe.process(probe.event(_nothing, sanitize=raises))


async def scheduled(probe: LeakProbe) -> None:
    """The payload is scheduled."""
    event = probe.event(_nothing)
    await probe.observe_storage(event, lambda: event.schedule("leaks", Every(3_600), probe.payload()))


REFUSALS: Final = (
    Scenario("a payload that does not fit is emitted", refused_to_the_caller),
    Scenario("a payload that is too large is emitted", refused_by_its_size),
    Scenario("its server does not answer an emit", not_acknowledged),
    Scenario("a payload that does not fit comes to its worker", refused_by_the_worker, stores_plain=True),
    Scenario("a damaged payload comes to its worker", damaged, stores_plain=True),
    Scenario("its sanitiser raises an error that quotes the payload", not_shown),
    Scenario("it is scheduled", scheduled),
)
# Only for an event with its own queue, which can have shards.
BY_KEY: Final = Scenario("its key function fails with the payload in its error", refused_by_its_key)
