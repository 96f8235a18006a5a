"""What the log shows of a payload: what the event's sanitiser returns, or the payload with its masks applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json, to_jsonable_python

from oxherd.errors import DeclarationError, is_interrupt
from oxherd.payload.paths import PathTree, parse_paths
from oxherd.payload.payload_type import PayloadType
from oxherd.payload.schema import SECRET_TYPES, core_schema_of
from oxherd.policy import takes_one_argument
from oxherd.privacy.allow import Allow, select
from oxherd.privacy.masked_serializer import has_masks, masked_serializer
from oxherd.privacy.masks import HIDDEN
from oxherd.privacy.redaction import Privacy

T = TypeVar("T")

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_UNTYPED: Final = frozenset({dict, list, tuple, set, frozenset})


@dataclass(slots=True, eq=False)
class ShownPayload:
    """What the log shows of one payload.

    Attributes:
        json: compact JSON; None if nothing is shown.
        withheld: the type of the exception that kept the payload from being shown, if one did.
    """

    json: bytes | None = None
    withheld: str | None = None

    @property
    def value(self) -> Any:
        """`json` as Python values."""
        return None if self.json is None else from_json(self.json)


NOTHING_SHOWN: Final = ShownPayload()


class Sanitizer(Generic[T]):
    """Shows an event's payloads by the user's function or Allow, or by the masks of their type; `privacy` says what
    else of them is private.

    Raises:
        DeclarationError: the function is `async def`, none, or not one of a payload alone, or an Allow names a field
            that the type lacks.
    """

    def __init__(self, payload_type: PayloadType[T], function: Callable[[T], Any] | Allow | None = None) -> None:
        event, schema = payload_type.event, payload_type.schema
        # An object whose __call__ is async is no coroutine function itself.
        if function is not None and (iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)):
            raise DeclarationError(f"{event}: the sanitiser is async: write it as a plain def or lambda.")
        if function is not None and not callable(function) and not isinstance(function, Allow):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all type-checked
            raise DeclarationError(f"{event}: sanitize must be a function of the payload, or an Allow(...).")
        if function is not None and not isinstance(function, Allow) and not takes_one_argument(function):
            raise DeclarationError(f"{event}: sanitize must be a function of one argument, the payload.")
        self._function = None if isinstance(function, Allow) else function
        self._allowed: PathTree | None = None
        if isinstance(function, Allow):
            self._allowed = parse_paths(schema, function.paths, f"{event}: {function!r}", by_alias=False)
        shows = function is not None or has_masks(schema)
        self._masked = masked_serializer(schema, to_shown) if shows else None
        self.privacy = privacy_of(payload_type, shows)

    def show(self, payload: T) -> ShownPayload:
        """Show one payload; never raises: any error withholds the payload."""
        if self._masked is None:
            return NOTHING_SHOWN
        try:
            raw = self._to_json(payload)
            if b"NaN" in raw or b"Infinity" in raw:
                from_json(raw, allow_inf_nan=False)
        except BaseException as error:  # a payload in doubt is not shown
            if is_interrupt(error):
                raise
            return ShownPayload(withheld=type(error).__name__)
        return ShownPayload(raw)

    def privacy_for(self, _payload: T) -> Privacy:
        """What else of one payload is private."""
        return self.privacy

    def _to_json(self, payload: T) -> bytes:
        if self._allowed is not None:
            assert self._masked is not None  # noqa: S101  # built whenever something is shown
            # By the fields' names: an alias may be the name of another field.
            whole = self._masked.to_python(payload, mode="json", by_alias=False, warnings="error")
            return to_json(select(whole, self._allowed), inf_nan_mode="constants")
        if self._function is None:
            return self._mask(payload)
        value = self._function(payload)
        if value is payload:
            return self._mask(payload)

        def mask_if_payload(part: Any) -> Any:
            return from_json(self._mask(payload)) if part is payload else None

        # Mappings and lists do not know their type: such a payload is recognised by identity.
        mask = mask_if_payload if type(payload) in _UNTYPED else None
        return to_json(to_shown(value, mask), inf_nan_mode="constants")

    def _mask(self, payload: T) -> bytes:
        assert self._masked is not None  # noqa: S101  # built whenever something is shown
        return self._masked.to_json(payload, by_alias=True, warnings="error")


def privacy_of(payload_type: PayloadType[Any], declared: bool) -> Privacy:
    """What is private in payloads of a type; `declared` says whether a sanitiser or masks say what the log shows."""
    sealer = payload_type.sealer
    return Privacy(payload_type.field_names, declared, None if sealer.keyring is None else sealer.covers)


def to_shown(value: Any, mask: Callable[[Any], Any] | None = None) -> Any:
    """Convert a value to what JSON can write: secrets as `***`, models and dataclasses with their masks applied.

    `mask` may convert a part first; it returns None for those that it leaves.
    """
    cls = cast("type[Any]", type(value))
    if cls in _ATOMS:
        return value
    if mask is not None and (masked := mask(value)) is not None:
        return masked
    if cls is dict or isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {
            key if type(key) is str else _key(key): part if type(part) in _ATOMS else to_shown(part, mask)
            for key, part in pairs
        }
    if isinstance(value, list | tuple | set | frozenset | deque | Iterator):
        return [to_shown(part, mask) for part in cast("list[Any]", value)]
    if isinstance(value, SECRET_TYPES):
        return HIDDEN
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _class_masker(cls)(value, mode="json", by_alias=True, warnings="error")
    return to_jsonable_python(value, inf_nan_mode="constants")


def _key(key: Any) -> str:
    if isinstance(key, SECRET_TYPES):
        return HIDDEN
    if isinstance(key, BaseModel) or is_dataclass(key) or isinstance(key, tuple | frozenset):
        raise TypeError("not a key of JSON")
    return str(next(iter(to_jsonable_python({key: None}))))


@lru_cache(maxsize=256)
def _class_masker(cls: type[Any]) -> Callable[..., Any]:
    return masked_serializer(core_schema_of(TypeAdapter(cls)), to_shown).to_python
