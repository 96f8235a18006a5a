"""A herd's events as JSON Schema: what another program adds, and what it reads of their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from oxherd.bullmq.shards import shard_queues
from oxherd.errors import ConfigError
from oxherd.event import Event
from oxherd.payload.failure import FailureType

Schema = dict[str, Any]

FAILURE: Final = "oxherd.Failure"
_FAILURE_SCHEMA: Final[Schema] = {
    "type": "object",
    "description": "An event that has failed for good. Only oxherd makes one.",
    "properties": {
        "event": {"type": "string", "description": "The failed event's name."},
        "id": {"type": "string", "format": "uuid"},
        "payload": {"description": "Its payload as it was stored: what was sealed still is."},
        "error": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            "required": ["type", "message"],
        },
        "attempts": {"type": "integer"},
        "caused_by": {"type": ["string", "null"], "description": "The id of the event whose handler emitted it."},
        "root": {"type": "string", "format": "uuid"},
        "failed_ms": {"type": "integer", "description": "Milliseconds since the Unix epoch."},
        "shard": {"type": "integer"},
        "job": {"type": "string", "description": "The job's id, where that is not the event's."},
    },
    "required": ["event", "id", "payload", "error", "attempts", "caused_by", "root", "failed_ms"],
}
_REMEDY: Final = "annotate what pydantic cannot describe with pydantic.WithJsonSchema({...})"


@dataclass(frozen=True, slots=True)
class EventSchema:
    """One event, and its schemas, each complete in itself.

    Attributes:
        emittable: whether another program may add it: a Failure never, nor what has to be sealed.
        sealed: what oxherd seals of a payload: nothing, the whole, or the fields of these dotted paths.
        strict: whether a payload that is not sealed is refused.
        result: an empty schema where nothing is known of it.
    """

    name: str
    queue: str
    queues: tuple[str, ...]
    emittable: bool
    sealed: tuple[str, ...] | Literal[True] | None
    strict: bool
    payload: Schema
    result: Schema


@dataclass(frozen=True, slots=True)
class HerdSchemas:
    """All events, by name; `payloads` and `results` are their schemas, which refer to `definitions`."""

    prefix: str
    events: dict[str, EventSchema]
    payloads: dict[str, Schema]
    results: dict[str, Schema]
    definitions: dict[str, Schema]


class _Generator(GenerateJsonSchema):
    """pydantic's, with the same output in each process, and no warning that would hold a default."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as the base's

    def encode_default(self, dft: Any) -> Any:
        encoded = super().encode_default(dft)
        return sorted(encoded, key=repr) if isinstance(dft, set | frozenset) else encoded  # pyright: ignore[reportUnknownArgumentType]


def herd_schemas(prefix: str, events: Iterable[Event[Any, Any]]) -> HerdSchemas:
    """Describe events.

    Raises:
        ConfigError: there are none, or a payload's type has no JSON Schema.
    """
    found = sorted(events, key=lambda event: event.name)
    if not found:
        raise ConfigError("The herd declares no event; decorate a function with @herd.event(...).")
    inputs: list[tuple[tuple[str, str], Literal["validation", "serialization"], Any]] = []
    described: dict[str, EventSchema] = {}
    refused: list[str] = []
    for event in found:
        payload, result = _payload_schema(event), _result_core(event)
        if payload is None:
            refused.append(event.name)
            continue
        described[event.name] = _event_schema(event, payload, result)
        if not isinstance(event.declaration.payload, FailureType):
            inputs.append((("payload", event.name), "validation", event.declaration.payload.schema))
        if result is not None:
            inputs.append((("result", event.name), "serialization", result))
    if refused:
        raise ConfigError(f"The payload's type of {', '.join(refused)} has no JSON Schema; {_REMEDY}.")
    schemas, shared = _Generator().generate_definitions(inputs)
    by_key = {key: schema for (key, _), schema in schemas.items()}
    definitions: dict[str, Schema] = {str(name): schema for name, schema in shared.items()}
    if any(("payload", name) not in by_key for name in described):
        definitions[FAILURE] = _FAILURE_SCHEMA
    failure = {"$ref": f"#/$defs/{FAILURE}"}
    return HerdSchemas(
        prefix=prefix,
        events=described,
        payloads={name: by_key.get(("payload", name), failure) for name in described},
        results={name: by_key.get(("result", name), {}) for name in described},
        definitions=definitions,
    )


def _event_schema(event: Event[Any, Any], payload: Schema, result: Any) -> EventSchema:
    declaration = event.declaration
    queues = shard_queues(event.name, declaration.shards) if declaration.own_queue else (declaration.queue,)
    sealer = declaration.payload.sealer
    strict = sealer.keyring is not None and sealer.keyring.strict
    return EventSchema(
        name=event.name,
        queue=declaration.queue,
        queues=queues,
        emittable=not strict and not isinstance(declaration.payload, FailureType),
        sealed=None if sealer.keyring is None else sealer.paths or True,
        strict=strict,
        payload=payload,
        result={} if result is None else _generate(result, "serialization") or {},
    )


def _payload_schema(event: Event[Any, Any]) -> Schema | None:
    payload = event.declaration.payload
    if isinstance(payload, FailureType):
        return _FAILURE_SCHEMA
    return _generate(payload.schema, "validation")


def _result_core(event: Event[Any, Any]) -> Any:
    """The core schema of a result's type; None where it has no JSON Schema, as a handler may return what it likes."""
    annotation = event.result_type.annotation
    if annotation is Any:
        return None
    try:
        core = TypeAdapter(annotation).core_schema
    except Exception:  # noqa: BLE001 - a type's own code may raise anything
        return None
    return None if _generate(core, "serialization") is None else core


def _generate(core: Any, mode: Literal["validation", "serialization"]) -> Schema | None:
    try:
        return _Generator().generate(core, mode)
    except Exception:  # noqa: BLE001 - a type's own code may raise anything
        return None
