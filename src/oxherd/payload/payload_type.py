"""A payload's way into the queue and out of it: validated on both sides, plain JSON between.

Nothing raised here holds a value of the payload, nor an error that does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from oxherd.errors import DeclarationError, InvalidPayload, PayloadTooLarge
from oxherd.payload.encryption import Sealer
from oxherd.payload.keyring import Keyring, Sealing
from oxherd.payload.rejection import location, reasons
from oxherd.payload.schema import Node, core_schema_of, declared_names, serializer, wire_schema

T = TypeVar("T")

_UNREADABLE: Final = "its JSON cannot be read again by its own type"


class PayloadType(Generic[T]):
    """The type of an event's payload: what `emit` accepts, the queue stores and the handler is given.

    Raises `DeclarationError` if pydantic cannot build a validator for the type, or if `seal` does not fit it.
    """

    event: str
    max_payload: int
    annotation: Any
    """The type, as it was declared."""
    field_names: frozenset[str]
    """Every field name and alias that the type declares."""
    schema: Node
    """pydantic's core schema of the type."""
    sealer: Sealer
    """What seals it for the queue, and opens it."""

    def __init__(self, tp: type[T] | Any, event: str, max_payload: int, seal: Keyring | Sealing | None = None) -> None:
        self.event = event
        self.max_payload = max_payload
        self.annotation = tp
        try:
            adapter: TypeAdapter[T] = TypeAdapter(tp)
            self.schema = core_schema_of(adapter)
            stored = wire_schema(self.schema)
            wire = serializer(stored)
        except PydanticUndefinedAnnotation as error:
            raise DeclarationError(
                f"{event}: {error.name} is not defined where the payload's type is read: define it at the top of a "
                "module, before the event."
            ) from error
        except Exception as error:
            name = getattr(tp, "__name__", None) or repr(tp)
            raise DeclarationError(
                f"{event}: {name} cannot be a payload's type ({type(error).__name__}): annotate the payload with a "
                "pydantic model, a dataclass, a TypedDict or another type that pydantic can validate."
            ) from error
        self.field_names = declared_names(self.schema)
        self.sealer = Sealer(event, seal, stored, self.field_names)
        self._declaration = repr(self.schema)
        self._validate: Callable[[Any], T] = adapter.validator.validate_python
        self._read: Callable[[str | bytes], T] = adapter.validator.validate_json
        self._to_json = wire.to_json
        self._to_python = wire.to_python

    def encode(self, value: Any) -> bytes:
        """Validate a payload and write it as compact JSON, secrets intact, and sealed where the event is.

        Raises `InvalidPayload` if it does not fit the type, `PayloadTooLarge` if its JSON is over the limit, and
        `ConfigError` if a key cannot be read.
        """
        try:
            valid = self._validate(value)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._why(error)
        else:
            return self._fitting(self.sealer.seal(self._written(valid)))
        raise self._refused(why)

    def open(self, raw: bytes) -> bytes:
        """The JSON that was sealed, or that came unsealed; raises `SealError` if it does not open."""
        return self.sealer.open(raw)

    def decode(self, raw: bytes | str) -> T:
        """Read and validate a payload from opened JSON; raises `InvalidPayload` if it does not fit the type."""
        try:
            return self._read(raw)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._why(error)
        raise self._refused(why)

    def _written(self, valid: T) -> bytes:
        try:
            raw = self._to_json(valid, by_alias=True, round_trip=True, warnings=False)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._unwritable(valid, error)
            raw = b""
        else:
            why = ""
        if why:
            raise self._refused(why)
        self._fitting(raw)
        if b"NaN" in raw or b"Infinity" in raw:
            self._refuse_constants(raw)
        if b"***" in raw:
            self._refuse_hidden(valid, raw)
        try:
            self._read(raw)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._why(error, otherwise=_UNREADABLE)
        else:
            return raw
        raise self._refused(why)

    def _fitting(self, raw: bytes) -> bytes:
        if len(raw) > self.max_payload:
            raise PayloadTooLarge(
                f"{self.event}: the payload is {len(raw)} bytes of JSON and the limit is {self.max_payload} bytes: "
                "store the data elsewhere and send a reference, or raise max_payload."
            )
        return raw

    def _refused(self, why: str) -> InvalidPayload:
        return InvalidPayload(f"{self.event}: the payload does not fit: {why}")

    def _why(self, error: Exception, otherwise: str = "") -> str:
        if isinstance(error, ValidationError):
            return reasons(error, self.field_names, self._declaration)
        raised = f"its validator raised {type(error).__name__}"
        return f"{otherwise}: {raised}" if otherwise else raised

    def _unwritable(self, valid: T, error: Exception) -> str:
        found = [name for name in _field_names(valid, self.field_names) if not self._writes(valid, name)]
        place = ", ".join(found[:5]) + ": " if found else ""
        return f"{place}it cannot be written as JSON ({type(error).__name__})"

    def _writes(self, valid: T, name: str) -> bool:
        try:
            self._to_json(valid, include={name}, round_trip=True, warnings=False)
        except Exception:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            return False
        return True

    def _refuse_constants(self, raw: bytes) -> None:
        places = _constants(json.loads(raw), ())
        found = next((location(place, self.field_names) for place in places), None)
        if found is not None:
            place = f"{found}: " if found else ""
            raise self._refused(f"{place}NaN and Infinity are not JSON, send None or a finite number")

    def _refuse_hidden(self, valid: T, raw: bytes) -> None:
        """Refuse a secret that pydantic has hidden because it stands where its type does not say so."""
        try:
            plain: object = self._to_python(valid, by_alias=True, round_trip=True, warnings=False)
        except Exception:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            plain = None
        for place, secret in _secrets(plain, ()):
            if json.dumps(str(secret)).encode() in raw:
                at = location(place, self.field_names)
                where = f"{at}: " if at else ""
                raise self._refused(f"{where}a secret stands in a field whose type does not name it, use SecretStr")


def _field_names(value: object, declared: frozenset[str]) -> list[str]:
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    if isinstance(value, dict):
        return [key for key in cast("dict[object, object]", value) if isinstance(key, str) and key in declared]
    return []


def _items(value: object) -> Iterable[tuple[Any, object]]:
    if isinstance(value, dict):
        return cast("dict[object, object]", value).items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(cast("list[object]", value))
    if isinstance(value, BaseModel):
        return vars(value).items()
    return ()


def _constants(value: object, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, float) and not isfinite(value):
        yield place
    for key, part in _items(value):
        yield from _constants(part, (*place, key))


def _secrets(value: object, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if isinstance(value, SecretStr | SecretBytes | Secret):
        yield place, cast("object", value)
        return
    for key, part in _items(value):
        yield from _secrets(part, (*place, key if isinstance(key, str | int) else "*"))
