"""A payload's type: validates what is emitted and what is read back, with plain JSON in between.

No error raised here holds a value of the payload, nor a cause or context that does: hence the raises after `except`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from oxherd.errors import DeclarationError, InvalidPayload, PayloadTooLarge, is_interrupt
from oxherd.payload.comparison import Comparison, Difference, may_differ
from oxherd.payload.encryption import Sealer
from oxherd.payload.keyring import Keyring, Sealing
from oxherd.payload.paths import JSONPath, find
from oxherd.payload.schema import SECRET_TYPES, Node, core_schema_of, declared_names, serializer, walk, wire_schema
from oxherd.payload.surrogates import replace_lone_surrogates
from oxherd.payload.validation_errors import LISTED_ERRORS, describe, field_path

T = TypeVar("T")

_REMEDY: Final = "change the type so that what is written is what is read, or send another value"


class PayloadType(Generic[T]):
    """The type of an event's payload: what `emit` accepts, the queue stores and the handler is given.

    Attributes:
        annotation: the type as it was declared.
        field_names: every field name and alias that the type declares.
        schema: pydantic's core schema of the type.
        sealer: seals payloads for the queue, and opens them.

    Raises:
        DeclarationError: pydantic cannot build a validator for the type, or `seal` does not fit it.
    """

    def __init__(
        self,
        tp: type[T] | Any,
        event: str,
        max_payload: int,
        seal: Keyring | Sealing | None = None,
        prefix: str = "bull",
    ) -> None:
        self.event = event
        self.max_payload = max_payload
        self.annotation: Any = tp
        try:
            adapter: TypeAdapter[T] = TypeAdapter(tp)
            self.schema: Node = core_schema_of(adapter)
            stored = wire_schema(self.schema)
            wire = serializer(stored)
        except PydanticUndefinedAnnotation as error:
            raise DeclarationError(
                f"{event}: {error.name} is not defined where the payload's type is read: define it at the top of a "
                "module, before the event."
            ) from error
        except Exception as error:
            name = getattr(tp, "__name__", None) or repr(tp)
            remedy = (
                "annotate the payload with a pydantic model, a dataclass, a TypedDict or another type that pydantic "
                "can validate."
            )
            if isinstance(error, PydanticUserError) and error.code == "typed-dict-version":
                remedy = "before Python 3.12, import TypedDict from typing_extensions."
            raise DeclarationError(
                f"{event}: {name} cannot be a payload's type ({type(error).__name__}): {remedy}"
            ) from error
        if any(node["type"] == "generator" for node in walk(self.schema)):
            raise DeclarationError(
                f"{event}: an Iterable or Generator in a payload's type can be read only once, while it is validated: "
                "name a list or a tuple."
            )
        self.field_names = declared_names(self.schema)
        self.sealer = Sealer(event, seal, stored, self.field_names, prefix)
        self._declaration = repr(self.schema)
        self._comparison = Comparison()
        # A type that cannot differ is compared at its first use only.
        self._compares_each = may_differ(self.schema)
        self._is_compared = True
        self._validate: Callable[[Any], T] = adapter.validator.validate_python
        self._read: Callable[[str | bytes], T] = adapter.validator.validate_json
        self._to_json = wire.to_json
        self._to_python = wire.to_python

    def load_keys(self) -> None:
        """Read the keys of what is sealed now; raises ConfigError if one cannot be read."""
        self.sealer.load_keys()

    def encode(self, value: Any) -> bytes:
        """Validate a payload and write it as the compact JSON that is stored: secrets in plain text, or sealed.

        Raises:
            InvalidPayload: it does not fit the type, or would not be read back.
            PayloadTooLarge: its JSON is over the limit.
            ConfigError: an encryption key cannot be read.
        """
        return self.seal(self.json_of(value))

    def json_of(self, value: Any) -> bytes:
        """As `encode`, but nothing is sealed."""
        try:
            valid = self._validate(value)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._why(error)
        else:
            return self._serialize(valid)
        raise self._invalid(why)

    def seal(self, raw: bytes) -> bytes:
        """What `json_of` has made, as it is stored; raises as `encode`."""
        return self._checked_size(self.sealer.seal(raw))

    def open(self, raw: bytes) -> bytes:
        """A stored payload's JSON with what is sealed opened, and lone surrogates replaced.

        Raises:
            SealError: it does not open here.
        """
        return self.sealer.open(replace_lone_surrogates(raw) if b"\\u" in raw else raw)

    def decode(self, raw: bytes | str) -> T:
        """Read and validate a payload from opened JSON; raises InvalidPayload if it does not fit the type."""
        try:
            return self._read(raw)
        except BaseException as error:  # a type's own code may raise anything, with the value in it
            if is_interrupt(error):
                raise
            why = self._why(error)
        raise self._invalid(why)

    def _serialize(self, valid: T) -> bytes:
        why = ""
        try:
            raw = self._to_json(valid, by_alias=True, round_trip=True, warnings=False)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            raw, why = b"", self._why_not_written(valid, error)
        if why:
            raise self._invalid(why)
        self._checked_size(raw)
        if b"NaN" in raw or b"Infinity" in raw:
            self._refuse_nan(raw)
        if b"***" in raw:
            self._refuse_masked_secrets(valid, raw)
        try:
            read = self._read(raw)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            why = self._why(error)
        else:
            if self._is_compared:
                self._refuse_another(valid, read, raw)
                self._is_compared = self._compares_each
            return raw
        raise self._invalid(f"{why}, when its JSON is read back: {_REMEDY}")

    def _refuse_another(self, valid: T, read: T, raw: bytes) -> None:
        """Refuse a payload in whose place the handler would be given another."""
        try:
            found = self._comparison.difference(valid, read)
            while found is not None and found.owner is not None and self._is_made_by_reading(found, read, raw):
                self._comparison.ignore(found)
                found = self._comparison.difference(valid, read)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            found = Difference(f"it cannot be compared with what its JSON is read back as ({type(error).__name__})")
        if found is not None:
            private = {str(found.path[0])} if found.owner else set[str]()
            where = field_path(found.path[::-1], self.field_names | private)
            raise self._invalid(": ".join(filter(None, (where, found.why, _REMEDY))))

    def _is_made_by_reading(self, found: Difference, read: T, raw: bytes) -> bool:
        again = self._comparison.difference(read, self._read(raw))
        return again is not None and (again.owner, again.path) == (found.owner, found.path)

    def _checked_size(self, raw: bytes) -> bytes:
        if len(raw) > self.max_payload:
            raise PayloadTooLarge(
                f"{self.event}: the payload is {len(raw)} bytes of JSON and the limit is {self.max_payload} bytes: "
                "store the data elsewhere and send a reference, or raise max_payload."
            )
        return raw

    def _invalid(self, why: str, path: JSONPath = ()) -> InvalidPayload:
        where = f"{field_path(path, self.field_names)}: " if path else ""
        return InvalidPayload(f"{self.event}: the payload does not fit: {where}{why}")

    def _why(self, error: BaseException) -> str:
        if isinstance(error, ValidationError):
            return describe(error, self.field_names, self._declaration)
        return f"its validator raised {type(error).__name__}"

    def _why_not_written(self, valid: T, error: Exception) -> str:
        names = [name for name in _field_names(valid, self.field_names) if not self._is_writable(valid, name)]
        where = ", ".join(names[:LISTED_ERRORS]) + ": " if names else ""
        return f"{where}it cannot be written as JSON ({type(error).__name__})"

    def _is_writable(self, valid: T, name: str) -> bool:
        try:
            self._to_json(valid, include={name}, round_trip=True, warnings=False)
        except Exception:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            return False
        return True

    def _refuse_nan(self, raw: bytes) -> None:
        for path, _ in find(json.loads(raw), _is_not_finite):
            raise self._invalid("NaN and Infinity are not JSON, send None or a finite number", path)

    def _refuse_masked_secrets(self, valid: T, raw: bytes) -> None:
        """Refuse a secret in a field of another type, which pydantic has written as asterisks."""
        try:
            plain: object = self._to_python(valid, by_alias=True, round_trip=True, warnings=False)
        except Exception:  # noqa: BLE001  # a type's own code may raise anything, with the value in it
            plain = None
        for path, secret in find(plain, _is_secret):
            if json.dumps(str(secret)).encode() in raw:
                raise self._invalid("a secret stands in a field whose type does not name it, use SecretStr", path)


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not isfinite(value)


def _is_secret(value: object) -> bool:
    return isinstance(value, SECRET_TYPES)


def _field_names(value: object, declared: frozenset[str]) -> list[str]:
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    if isinstance(value, dict):
        return [key for key in cast("dict[object, object]", value) if isinstance(key, str) and key in declared]
    return []
